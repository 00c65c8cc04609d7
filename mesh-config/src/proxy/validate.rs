//! The one check of a document, called by the operator before it writes, by `outrigger validate`, and by the proxy
//! before it swaps. It reports all problems with their field paths.

use super::{
    Authorization, Cluster, Document, Endpoint, Layer, Parsed, PathMatch, PathMatchType, Route, RouteMatch, Service,
    Timeouts, VERSION, ValueMatch, ValueMatchType,
};
use crate::{Problems, names};
use std::collections::{HashMap, HashSet};

/// A document that was checked whole, with what in it is closed. Only [`validate`] makes one, and a proxy runs nothing
/// else.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid {
    document: Document,
    unknown: Vec<String>,
    closed: Vec<usize>,
}

impl Valid {
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Paths of fields that this version doesn't know.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Whether the layer's authorization wasn't understood: what it selects is closed.
    pub fn is_closed(&self, layer: usize) -> bool {
        self.closed.contains(&layer)
    }

    /// From a file's bytes: read, then checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Valid, Problems> {
        validate(Document::parse(bytes)?)
    }
}

/// Checks a document. A regular expression is compiled here and again by who runs it: it is checked rarely.
pub fn validate(parsed: Parsed) -> Result<Valid, Problems> {
    let mut problems = Problems::default();
    let document = &parsed.document;
    if document.version != VERSION {
        problems
            .add("version", format!("{} is not a format that this version reads; write {VERSION}", document.version));
    }
    for (index, layer) in document.layers.iter().enumerate() {
        check_layer(&format!("layers[{index}]"), layer, &mut problems);
    }
    check_services(document, &mut problems);
    for (name, cluster) in &document.clusters {
        check_cluster(&format!("clusters[{name:?}]"), cluster, &mut problems);
    }
    problems.or(Valid { document: parsed.document, unknown: parsed.unknown, closed: parsed.closed })
}

fn check_layer(path: &str, layer: &Layer, problems: &mut Problems) {
    if layer.source.is_empty() {
        problems.add(format!("{path}.source"), "is empty; say where the layer comes from");
    }
    if let Some(authorization) = &layer.authorization {
        check_authorization(&format!("{path}.authorization"), authorization, problems);
    }
}

fn check_authorization(path: &str, authorization: &Authorization, problems: &mut Problems) {
    for (index, rule) in authorization.rules.iter().enumerate() {
        let path = format!("{path}.rules[{index}]");
        if rule.name.is_empty() {
            problems.add(format!("{path}.name"), "is empty; logs and metrics need it");
        }
        for (entry, to) in rule.to.iter().enumerate() {
            let path = format!("{path}.to[{entry}]");
            if to.ports.contains(&0) {
                problems.add(format!("{path}.ports"), "holds 0; ports are 1 to 65535");
            }
            for (index, method) in to.methods.iter().enumerate() {
                check_token(&format!("{path}.methods[{index}]"), method, problems);
            }
            for (index, path_match) in to.paths.iter().enumerate() {
                check_path(&format!("{path}.paths[{index}]"), path_match, problems);
            }
        }
    }
}

fn check_services(document: &Document, problems: &mut Problems) {
    let mut owners = HashMap::new();
    for (index, service) in document.services.iter().enumerate() {
        let path = format!("services[{index}]");
        if service.name.is_empty() {
            problems.add(format!("{path}.name"), "is empty; write NAMESPACE/NAME");
        }
        for (port_index, port) in service.ports.iter().enumerate() {
            let path = format!("{path}.ports[{port_index}]");
            if port.port == 0 {
                problems.add(format!("{path}.port"), "is 0; ports are 1 to 65535");
            }
            for address in &service.addresses {
                if let Some(other) = owners.insert((*address, port.port), &service.name) {
                    problems.add(&path, format!("{address} port {} belongs to {other} already", port.port));
                }
            }
            let dry = port.dry_run_routes.iter().flatten();
            check_routes(&format!("{path}.routes"), port.routes.iter(), document, problems);
            check_routes(&format!("{path}.dryRunRoutes"), dry, document, problems);
        }
        check_service_addresses(&path, service, problems);
    }
}

fn check_service_addresses(path: &str, service: &Service, problems: &mut Problems) {
    if service.addresses.is_empty() && !service.ports.is_empty() {
        problems.add(format!("{path}.addresses"), "is empty; a service is found by its addresses");
    }
    for address in &service.addresses {
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            problems.add(format!("{path}.addresses"), format!("{address} is not an address that can be called"));
        }
    }
}

fn check_routes<'a>(path: &str, routes: impl Iterator<Item = &'a Route>, document: &Document, problems: &mut Problems) {
    let mut names = HashSet::new();
    for (index, route) in routes.enumerate() {
        let path = format!("{path}[{index}]");
        if route.name.is_empty() || !names.insert(&route.name) {
            problems
                .add(format!("{path}.name"), format!("{:?} is empty or stands twice; names are unique", route.name));
        }
        for (index, route_match) in route.matches.iter().enumerate() {
            check_match(&format!("{path}.matches[{index}]"), route_match, problems);
        }
        for (index, backend) in route.backends.iter().enumerate() {
            if !document.clusters.contains_key(&backend.cluster) {
                let message = format!("{:?} is not in clusters", backend.cluster);
                problems.add(format!("{path}.backends[{index}].cluster"), message);
            }
        }
        let total: u64 = route.backends.iter().map(|backend| u64::from(backend.weight)).sum();
        if !route.backends.is_empty() && total == 0 {
            problems.add(format!("{path}.backends"), "has only weights of 0; give one at least 1");
        }
        check_timeouts(&format!("{path}.timeouts"), &route.timeouts, problems);
    }
}

fn check_match(path: &str, route_match: &RouteMatch, problems: &mut Problems) {
    if let Some(path_match) = &route_match.path {
        check_path(&format!("{path}.path"), path_match, problems);
    }
    if let Some(method) = &route_match.method {
        check_token(&format!("{path}.method"), method, problems);
    }
    for (index, header) in route_match.headers.iter().enumerate() {
        let path = format!("{path}.headers[{index}]");
        check_token(&format!("{path}.name"), &header.name, problems);
        check_value(&path, header, problems);
    }
    for (index, param) in route_match.query_params.iter().enumerate() {
        check_value(&format!("{path}.queryParams[{index}]"), param, problems);
    }
}

fn check_timeouts(path: &str, timeouts: &Timeouts, problems: &mut Problems) {
    let (request, one) = (
        timeouts.request.and_then(crate::Duration::nonzero),
        timeouts.backend_request.and_then(crate::Duration::nonzero),
    );
    if let (Some(request), Some(one)) = (request, one)
        && one > request
    {
        problems.add(format!("{path}.backendRequest"), "is longer than request, so it could never end a try");
    }
}

fn check_path(path: &str, path_match: &PathMatch, problems: &mut Problems) {
    match path_match.kind {
        PathMatchType::RegularExpression => check_regex(path, &path_match.value, problems),
        PathMatchType::Exact | PathMatchType::PathPrefix if !path_match.value.starts_with('/') => {
            problems.add(format!("{path}.value"), format!("{:?} does not begin with '/'", path_match.value));
        }
        PathMatchType::Exact | PathMatchType::PathPrefix => {}
    }
}

fn check_value(path: &str, value: &ValueMatch, problems: &mut Problems) {
    if value.name.is_empty() {
        problems.add(format!("{path}.name"), "is empty");
    }
    if value.kind == ValueMatchType::RegularExpression {
        check_regex(path, &value.value, problems);
    }
}

/// As the proxy compiles it: the whole text must match.
fn check_regex(path: &str, expression: &str, problems: &mut Problems) {
    if let Err(error) = full_match(expression) {
        problems.add(format!("{path}.value"), format!("{expression:?} is not a regular expression: {error}"));
    }
}

/// A regular expression that matches whole texts, bounded in size. (The syntax is that of the crate `regex`: linear
/// time, so no expression can stall a proxy.)
pub fn full_match(expression: &str) -> Result<regex::Regex, regex::Error> {
    // the expression must stand by itself: "a)|(b" would otherwise pass inside the group
    regex::Regex::new(expression)?;
    regex::RegexBuilder::new(&format!("^(?:{expression})$")).size_limit(1 << 20).build()
}

/// RFC 9110 5.6.2; methods and header names are tokens.
fn check_token(path: &str, token: &str, problems: &mut Problems) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if token.is_empty() || !token.bytes().all(allowed) {
        problems.add(path, format!("{token:?} is not a token (RFC 9110 5.6.2)"));
    }
}

fn check_cluster(path: &str, cluster: &Cluster, problems: &mut Problems) {
    for (index, Endpoint { addresses, port }) in cluster.endpoints.iter().enumerate() {
        let path = format!("{path}.endpoints[{index}]");
        if addresses.is_empty() {
            problems.add(format!("{path}.addresses"), "is empty; give an address, or leave the endpoint out");
        }
        if *port == 0 {
            problems.add(format!("{path}.port"), "is 0; ports are 1 to 65535");
        }
        if addresses.iter().any(std::net::IpAddr::is_loopback) && names::OWN_PORTS.contains(port) {
            problems.add(format!("{path}.port"), format!("{port} on loopback is the proxy itself"));
        }
    }
}
