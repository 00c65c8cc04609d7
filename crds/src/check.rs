//! The checks that need no cluster: the same for `outrigger validate`, the admission webhook and the operator.
//!
//! [`check`] repeats all that the schema says, since none of the three can count on it: a file has met no API server,
//! and a stored object may be older than the schema. The bounds come from the schema itself (`shape.rs`); here stand
//! the twins of its CEL rules, under the same messages, and what CEL can't tell: regular expressions, header names that
//! differ in case alone, label keys, the access log's filter.

use crate::authorization::{
    AuthRule, EMPTY_FROM, EMPTY_NOT, EMPTY_TO, NotPeer, Operation, PATH_NOT_NORMAL, PATH_WITHOUT_SLASH, PathMatch, Peer,
};
use crate::parse::read;
use crate::policy::MeshPolicy;
use crate::problem::Problem;
use crate::protocol::{EMPTY_PROTOCOL, ProtocolSection};
use crate::route::{
    BACKEND_REQUEST_TOO_LONG, EMPTY_MATCH, EMPTY_TIMEOUTS, HeaderMatch, Route, RouteMatch, Timeouts, WEIGHTS_ALL_ZERO,
};
use crate::scalars::{PathMatchType, ValueMatchType};
use crate::target::{
    LONG_LABEL_KEY, POD_WITH_NAME, POD_WITHOUT_SELECTOR, SECTION_NAME_WITHOUT_SERVICE, SELECTOR_WITHOUT_POD,
    SERVICE_WITHOUT_NAME, TargetKind, TargetRef,
};
use crate::telemetry::{AccessLog, EMPTY_ACCESS_LOG, EMPTY_TELEMETRY, FILTER_WITHOUT_LOG, LogFormat, Telemetry};
use regex::Regex;
use std::collections::HashSet;
use std::sync::LazyLock;

/// Every problem of a policy, with its path. A policy that comes as JSON or YAML goes to [`read`] instead: there an
/// unknown field or an empty list can still be seen.
pub fn check(policy: &MeshPolicy) -> Vec<Problem> {
    let raw = serde_json::to_value(policy).expect("a policy has string keys and finite numbers only");
    read(&raw).problems
}

/// What a value that fits the schema's bounds must fulfil besides.
pub(crate) trait Check {
    fn check(&self, path: &str, problems: &mut Vec<Problem>);
}

/// Adds a problem unless `fine`.
fn ensure(fine: bool, path: String, message: &str, problems: &mut Vec<Problem>) {
    if !fine {
        problems.push(Problem::invalid(path, message));
    }
}

fn each<T: Check>(items: &[T], path: &str, problems: &mut Vec<Problem>) {
    for (i, item) in items.iter().enumerate() {
        item.check(&format!("{path}[{i}]"), problems);
    }
}

impl Check for TargetRef {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let (pod, service) = (self.kind == TargetKind::Pod, self.kind == TargetKind::Service);
        ensure(pod || self.selector.is_none(), format!("{path}.selector"), SELECTOR_WITHOUT_POD, problems);
        ensure(!pod || self.selector.is_some(), format!("{path}.selector"), POD_WITHOUT_SELECTOR, problems);
        let port = format!("{path}.sectionName");
        ensure(service || self.section_name.is_none(), port, SECTION_NAME_WITHOUT_SERVICE, problems);
        ensure(!service || self.name.is_some(), format!("{path}.name"), SERVICE_WITHOUT_NAME, problems);
        ensure(!pod || self.name.is_none(), format!("{path}.name"), POD_WITH_NAME, problems);
        for key in self.selector.iter().flat_map(|selector| selector.match_labels.keys()) {
            let path = format!("{path}.selector.matchLabels[{key}]");
            if key.chars().count() > 317 {
                problems.push(Problem::invalid(path, LONG_LABEL_KEY));
            } else if !is_label_key(key) {
                let message = "is no label key; write it as app or app.kubernetes.io/name";
                problems.push(Problem::invalid(path, message));
            }
        }
    }
}

/// Kubernetes' qualified name: an optional DNS subdomain with `/`, then up to 63 characters.
fn is_label_key(key: &str) -> bool {
    static NAME: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new("^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$").expect("the expression is a constant")
    });
    static PREFIX: LazyLock<Regex> = LazyLock::new(|| {
        let label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
        Regex::new(&format!("^{label}(\\.{label})*$")).expect("the expression is a constant")
    });
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    NAME.is_match(name) && prefix.is_none_or(|prefix| prefix.len() <= 253 && PREFIX.is_match(prefix))
}

impl Check for AuthRule {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        each(&self.from, &format!("{path}.from"), problems);
        each(&self.to, &format!("{path}.to"), problems);
    }
}

impl Check for Peer {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        ensure(!self.ip_blocks.is_empty() || self.not.is_some(), path.into(), EMPTY_FROM, problems);
        if let Some(not) = &self.not {
            not.check(&format!("{path}.not"), problems);
        }
    }
}

impl Check for NotPeer {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        ensure(!self.ip_blocks.is_empty(), path.into(), EMPTY_NOT, problems);
    }
}

impl Check for Operation {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let says = !self.ports.is_empty() || !self.methods.is_empty() || !self.paths.is_empty();
        ensure(says, path.into(), EMPTY_TO, problems);
        each(&self.paths, &format!("{path}.paths"), problems);
    }
}

impl Check for PathMatch {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let (value, path) = (self.value.as_str(), format!("{path}.value"));
        if self.r#type == PathMatchType::RegularExpression {
            return regular_expression(value, path, problems);
        }
        ensure(value.starts_with('/'), path.clone(), PATH_WITHOUT_SLASH, problems);
        let odd = ["//", "/./", "/../", "%2f", "%2F", "#", "?", " "].iter().any(|odd| value.contains(odd));
        ensure(!odd && !value.ends_with("/.") && !value.ends_with("/.."), path, PATH_NOT_NORMAL, problems);
    }
}

/// By the proxy's own way to compile it.
fn regular_expression(text: &str, path: String, problems: &mut Vec<Problem>) {
    if let Err(error) = mesh_config::proxy::validate::full_match(text) {
        // the error draws the place over several lines; its last line says what is wrong
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        problems.push(Problem::invalid(path, format!("\"{text}\" is no regular expression: {reason}; correct it")));
    }
}

impl Check for Route {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        each(&self.matches, &format!("{path}.matches"), problems);
        let weighty = self.backend_refs.is_empty() || self.backend_refs.iter().any(|backend| backend.weight > 0);
        ensure(weighty, format!("{path}.backendRefs"), WEIGHTS_ALL_ZERO, problems);
        if let Some(timeouts) = &self.timeouts {
            timeouts.check(&format!("{path}.timeouts"), problems);
        }
    }
}

impl Check for RouteMatch {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let fields =
            [self.path.is_some(), self.method.is_some(), !self.headers.is_empty(), !self.query_params.is_empty()];
        ensure(fields.contains(&true), path.into(), EMPTY_MATCH, problems);
        if let Some(value) = &self.path {
            value.check(&format!("{path}.path"), problems);
        }
        same_header_twice(&self.headers, path, problems);
        for (i, header) in self.headers.iter().enumerate() {
            value(header.r#type, header.value.as_str(), format!("{path}.headers[{i}].value"), problems);
        }
        for (i, param) in self.query_params.iter().enumerate() {
            value(param.r#type, param.value.as_str(), format!("{path}.queryParams[{i}].value"), problems);
        }
    }
}

fn value(how: ValueMatchType, text: &str, path: String, problems: &mut Vec<Problem>) {
    if how == ValueMatchType::RegularExpression {
        regular_expression(text, path, problems);
    }
}

/// The schema sees names that are equal; names of headers are the same in any case.
fn same_header_twice(headers: &[HeaderMatch], path: &str, problems: &mut Vec<Problem>) {
    let mut seen = HashSet::new();
    for (i, header) in headers.iter().enumerate() {
        if !seen.insert(header.name.as_str().to_ascii_lowercase()) {
            let message = format!("\"{}\" stands here twice (case doesn't matter); remove one", header.name);
            problems.push(Problem::invalid(format!("{path}.headers[{i}].name"), message));
        }
    }
}

impl Check for Timeouts {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let says = self.request.is_some() || self.backend_request.is_some() || self.idle.is_some();
        ensure(says, path.into(), EMPTY_TIMEOUTS, problems);
        if let (Some(request), Some(each)) = (self.request, self.backend_request) {
            let fits = request.0.is_zero() || each <= request;
            ensure(fits, format!("{path}.backendRequest"), BACKEND_REQUEST_TOO_LONG, problems);
        }
    }
}

impl Check for ProtocolSection {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        ensure(self.detect_timeout.is_some() || !self.ports.is_empty(), path.into(), EMPTY_PROTOCOL, problems);
    }
}

impl Check for Telemetry {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        ensure(self.access_log.is_some(), path.into(), EMPTY_TELEMETRY, problems);
        if let Some(log) = &self.access_log {
            log.check(&format!("{path}.accessLog"), problems);
        }
    }
}

impl Check for AccessLog {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        ensure(self.format.is_some() || self.filter.is_some(), path.into(), EMPTY_ACCESS_LOG, problems);
        let path = format!("{path}.filter");
        if self.format == Some(LogFormat::None) && self.filter.is_some() {
            problems.push(Problem::invalid(path.clone(), FILTER_WITHOUT_LOG));
        }
        if let Some(Err(error)) = self.parsed_filter() {
            problems.push(Problem::invalid(path, error));
        }
    }
}

#[cfg(test)]
mod tests;
