//! One policy's sections in the proxy's types.
//!
//! Each is passed through `mesh_config::proxy::validate`, the check that the whole document must pass, so that a value
//! which slips through the resource's own checks costs its policy a section and nobody else anything. What is refused
//! takes the strict reading: a route section is absent, an Allow rule allows nothing, a Deny rule loses its conditions.

use super::Backend;
use crate::index::Key;
use crds::{AuthorizationReading, Problem, Reading, RuleReading};
use mesh_config::proxy::{self, validate::validate};
use mesh_config::settings::AccessLogFormat;
use mesh_config::{PortRef, Protocol};
use std::collections::BTreeMap;

/// What a policy says, whatever it is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sections {
    pub authorization: Option<proxy::Authorization>,
    /// For the policy's whole namespace, where its targets can't all be read.
    pub fallback: Option<proxy::Authorization>,
    pub protocol: Option<proxy::ProtocolSection>,
    pub access_log: Option<proxy::AccessLog>,
    pub routes: Vec<Routed>,
}

/// A route, and what its backends refer to (in the same order).
#[derive(Clone, Debug, PartialEq)]
pub struct Routed {
    pub route: proxy::Route,
    pub backends: Vec<Backend>,
}

impl Sections {
    /// Adds what the proxy's check refuses to `problems`.
    pub fn of(reading: &Reading, problems: &mut Vec<Problem>) -> Sections {
        let read = reading.authorization.as_ref();
        let for_namespace =
            read.filter(|_| reading.unreadable_targets).map(AuthorizationReading::for_unreadable_targets);
        Sections {
            authorization: read.map(|read| authorization(read, problems)),
            fallback: for_namespace.map(|read| authorization(&read, problems)),
            protocol: reading.protocol.get().map(protocol),
            access_log: reading.telemetry.get().and_then(|telemetry| access_log(telemetry.access_log.as_ref()?)),
            routes: routes(reading, problems),
        }
    }

    /// Whether nothing of the policy is left.
    pub fn is_empty(&self) -> bool {
        *self == Sections::default()
    }
}

fn authorization(read: &AuthorizationReading, problems: &mut Vec<Problem>) -> proxy::Authorization {
    let rules = read.rules.iter().enumerate().map(|(i, reading)| {
        let rule = rule(reading);
        let authorization = proxy::Authorization { default: None, rules: vec![rule.clone()] };
        let layer = proxy::Layer { source: "x".into(), authorization: Some(authorization), ..Default::default() };
        let found = refused(proxy::Document { layers: vec![layer], ..Default::default() });
        if found.is_empty() {
            return rule;
        }
        let place = |path: &str| {
            path.replacen("layers[0].authorization.rules[0]", &format!("spec.authorization.rules[{i}]"), 1)
        };
        report(found, place, problems);
        strict(rule)
    });
    proxy::Authorization { default: read.default.map(verdict), rules: rules.collect() }
}

fn rule(reading: &RuleReading) -> proxy::Rule {
    match reading {
        RuleReading::AllowsNothing { name, .. } => never(name.clone()),
        RuleReading::Understood(rule) | RuleReading::DeniesMore { rule, .. } => proxy::Rule {
            name: rule.name.0.clone(),
            action: match rule.action {
                crds::Action::Allow => proxy::Verdict::Allow,
                crds::Action::Deny => proxy::Verdict::Deny,
            },
            never: false,
            from: rule.from.iter().map(from).collect(),
            to: rule.to.iter().map(to).collect(),
        },
    }
}

fn never(name: String) -> proxy::Rule {
    proxy::Rule { name, action: proxy::Verdict::Allow, never: true, from: Vec::new(), to: Vec::new() }
}

fn strict(rule: proxy::Rule) -> proxy::Rule {
    match rule.action {
        proxy::Verdict::Allow => never(rule.name),
        proxy::Verdict::Deny => proxy::Rule { from: Vec::new(), to: Vec::new(), ..rule },
    }
}

fn verdict(verdict: crds::Verdict) -> proxy::Verdict {
    match verdict {
        crds::Verdict::Allow => proxy::Verdict::Allow,
        crds::Verdict::Deny => proxy::Verdict::Deny,
    }
}

fn from(peer: &crds::Peer) -> proxy::From {
    let networks = |blocks: &[crds::scalars::IpBlock]| blocks.iter().map(|block| block.0).collect();
    proxy::From {
        ip_blocks: networks(&peer.ip_blocks),
        not_ip_blocks: peer.not.as_ref().map(|not| networks(&not.ip_blocks)).unwrap_or_default(),
    }
}

fn to(operation: &crds::Operation) -> proxy::To {
    proxy::To {
        ports: operation.ports.iter().map(|port| port.0).collect(),
        methods: operation.methods.iter().map(|method| method.as_str().to_owned()).collect(),
        paths: operation.paths.iter().map(path).collect(),
    }
}

fn path(path: &crds::PathMatch) -> proxy::PathMatch {
    use crds::scalars::PathMatchType as Theirs;
    let kind = match path.r#type {
        Theirs::Exact => proxy::PathMatchType::Exact,
        Theirs::PathPrefix => proxy::PathMatchType::PathPrefix,
        Theirs::RegularExpression => proxy::PathMatchType::RegularExpression,
    };
    proxy::PathMatch { kind, value: path.value.0.clone() }
}

fn protocol(section: &crds::ProtocolSection) -> proxy::ProtocolSection {
    let entry = |entry: &crds::ProtocolPort| proxy::PortProtocol {
        port: PortRef::Number(entry.port.0),
        protocol: Protocol::from(entry.protocol),
    };
    proxy::ProtocolSection {
        detect_timeout: section.detect_timeout.map(|timeout| timeout.0),
        ports: section.ports.iter().map(entry).collect(),
    }
}

fn access_log(log: &crds::AccessLog) -> Option<proxy::AccessLog> {
    let format = log.format.map(|format| match format {
        crds::LogFormat::Text => AccessLogFormat::Text,
        crds::LogFormat::Json => AccessLogFormat::Json,
        crds::LogFormat::None => AccessLogFormat::None,
    });
    // the reading has seen to it that the filter can be read
    let filter = log.parsed_filter().and_then(Result::ok);
    (format.is_some() || filter.is_some()).then_some(proxy::AccessLog { format, filter })
}

/// None at all where one of them is refused: a broken section counts as absent.
fn routes(reading: &Reading, problems: &mut Vec<Problem>) -> Vec<Routed> {
    let Some(routes) = reading.routes.get() else { return Vec::new() };
    let routed: Vec<Routed> = routes.iter().map(|route| self::route(route, &reading.namespace)).collect();
    let clusters = routed.iter().flat_map(|routed| &routed.route.backends);
    let port = proxy::ServicePort {
        port: 1,
        name: None,
        protocol: None,
        detect_timeout: None,
        routes: routed.iter().map(|routed| routed.route.clone()).collect(),
        dry_run_routes: None,
    };
    let found = refused(proxy::Document {
        clusters: clusters
            .map(|backend| (backend.cluster.clone(), proxy::Cluster::default()))
            .collect::<BTreeMap<_, _>>(),
        services: vec![proxy::Service { name: "x".into(), addresses: vec![[192, 0, 2, 1].into()], ports: vec![port] }],
        ..Default::default()
    });
    if found.is_empty() {
        return routed;
    }
    report(found, |path| path.replacen("services[0].ports[0]", "spec", 1), problems);
    Vec::new()
}

fn route(route: &crds::Route, own_namespace: &str) -> Routed {
    let backends: Vec<Backend> = route
        .backend_refs
        .iter()
        .map(|backend| Backend {
            service: Key::new(
                backend.namespace.as_ref().map_or(own_namespace, |name| name.as_str()),
                backend.name.as_str(),
            ),
            port: backend.port.0,
        })
        .collect();
    let weights = route.backend_refs.iter().map(|backend| u32::try_from(backend.weight).unwrap_or(0));
    let timeouts = route.timeouts.as_ref();
    let shares =
        backends.iter().zip(weights).map(|(backend, weight)| proxy::Backend { cluster: backend.cluster(), weight });
    let route = proxy::Route {
        name: route.name.0.clone(),
        matches: route.matches.iter().map(route_match).collect(),
        backends: shares.collect(),
        timeouts: proxy::Timeouts {
            request: timeouts.and_then(|timeouts| Some(timeouts.request?.0)),
            backend_request: timeouts.and_then(|timeouts| Some(timeouts.backend_request?.0)),
            idle: timeouts.and_then(|timeouts| Some(timeouts.idle?.0)),
        },
    };
    Routed { route, backends }
}

fn route_match(route_match: &crds::RouteMatch) -> proxy::RouteMatch {
    let headers = route_match.headers.iter();
    let params = route_match.query_params.iter();
    proxy::RouteMatch {
        path: route_match.path.as_ref().map(path),
        method: route_match.method.map(|method| method.as_str().to_owned()),
        headers: headers.map(|header| value(header.r#type, &header.name.0, &header.value.0)).collect(),
        query_params: params.map(|param| value(param.r#type, &param.name.0, &param.value.0)).collect(),
    }
}

fn value(kind: crds::scalars::ValueMatchType, name: &str, value: &str) -> proxy::ValueMatch {
    use crds::scalars::ValueMatchType as Theirs;
    let kind = match kind {
        Theirs::Exact => proxy::ValueMatchType::Exact,
        Theirs::RegularExpression => proxy::ValueMatchType::RegularExpression,
    };
    proxy::ValueMatch { kind, name: name.to_owned(), value: value.to_owned() }
}

/// What the proxy would have against a document.
fn refused(document: proxy::Document) -> Vec<mesh_config::Problem> {
    let document = proxy::Document { version: proxy::VERSION, ..document };
    let parsed = proxy::Parsed { document, unknown: Vec::new(), closed: Vec::new() };
    validate(parsed).err().map(|problems| problems.0).unwrap_or_default()
}

fn report(found: Vec<mesh_config::Problem>, place: impl Fn(&str) -> String, problems: &mut Vec<Problem>) {
    for problem in found {
        let problem = Problem::invalid(place(&problem.path), problem.message);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A reading in which a value stands that its own checks should have refused, and once may not.
    fn reading(rule: serde_json::Value) -> Reading {
        let rule = serde_json::from_value(rule).unwrap();
        let route = serde_json::from_value(json!({"name": "r", "matches": [{"path": {"value": "no slash"}}]})).unwrap();
        let good = json!({"metadata": {"namespace": "shop", "name": "p"}, "spec": {
            "targetRefs": [{"kind": "Service", "name": "a"}],
            "routes": [{"name": "good", "timeouts": {"request": "1s"}}],
            "authorization": {"rules": [{"name": "good", "action": "Deny"}]},
        }});
        let mut reading = crds::read(&good);
        assert_eq!(reading.problems, []);
        if let crds::Section::Read(routes) = &mut reading.routes {
            routes.push(route);
        }
        reading.authorization.as_mut().unwrap().rules.push(RuleReading::Understood(rule));
        reading
    }

    #[test]
    fn what_the_proxy_would_refuse_takes_the_strict_reading_and_is_said() {
        let to = json!([{"paths": [{"value": "no slash"}]}]);
        for (action, want) in [
            ("Allow", json!({"name": "bad", "action": "Allow", "never": true})),
            ("Deny", json!({"name": "bad", "action": "Deny"})),
        ] {
            let reading = reading(json!({"name": "bad", "action": action, "to": to}));
            let mut problems = Vec::new();
            let sections = Sections::of(&reading, &mut problems);
            let rules = serde_json::to_value(sections.authorization.unwrap().rules).unwrap();
            assert_eq!(rules, json!([{"name": "good", "action": "Deny"}, want]));
            assert_eq!(sections.routes, []);
            let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
            assert_eq!(
                paths,
                ["spec.authorization.rules[1].to[0].paths[0].value", "spec.routes[1].matches[0].path.value"]
            );
        }
    }
}
