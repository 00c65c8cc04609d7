//! Headers and query parameters of a match.

use http::header::{HOST, HeaderValue};
use http::{HeaderMap, HeaderName, Uri};
use mesh_config::Problems;
use mesh_config::proxy::{RouteMatch, ValueMatch, ValueMatchType, validate::full_match};
use regex::Regex;
use std::borrow::Cow;

/// All of them must hold.
#[derive(Debug, Default)]
pub(super) struct Values {
    headers: Vec<(HeaderName, Wanted)>,
    query_params: Vec<(String, Wanted)>,
}

#[derive(Debug)]
enum Wanted {
    Exact(String),
    /// Anchored at both ends.
    Expression(Regex),
}

impl Wanted {
    fn new(path: &str, value: &ValueMatch, problems: &mut Problems) -> Option<Wanted> {
        match value.kind {
            ValueMatchType::Exact => Some(Wanted::Exact(value.value.clone())),
            ValueMatchType::RegularExpression => match full_match(&value.value) {
                Ok(expression) => Some(Wanted::Expression(expression)),
                Err(error) => {
                    problems.add(format!("{path}.value"), error);
                    None
                }
            },
        }
    }

    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Wanted::Exact(wanted) => wanted.as_bytes() == value,
            Wanted::Expression(expression) => expression.is_match(&String::from_utf8_lossy(value)),
        }
    }
}

impl Values {
    /// Of several entries for one name only the first counts (Gateway API says so for both lists).
    pub(super) fn new(path: &str, route_match: &RouteMatch, problems: &mut Problems) -> Values {
        let mut values = Values::default();
        for (index, header) in route_match.headers.iter().enumerate() {
            let path = format!("{path}.headers[{index}]");
            match HeaderName::from_bytes(header.name.as_bytes()) {
                Ok(name) if values.headers.iter().any(|(known, _)| *known == name) => {}
                Ok(name) => values.headers.extend(Wanted::new(&path, header, problems).map(|wanted| (name, wanted))),
                Err(error) => problems.add(format!("{path}.name"), error),
            }
        }
        for (index, param) in route_match.query_params.iter().enumerate() {
            let path = format!("{path}.queryParams[{index}]");
            if !values.query_params.iter().any(|(known, _)| *known == param.name) {
                let wanted = Wanted::new(&path, param, problems);
                values.query_params.extend(wanted.map(|wanted| (param.name.clone(), wanted)));
            }
        }
        values
    }

    pub(super) fn headers(&self) -> usize {
        self.headers.len()
    }

    pub(super) fn query_params(&self) -> usize {
        self.query_params.len()
    }

    pub(super) fn match_all(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        self.headers.iter().all(|(name, wanted)| header_matches(name, wanted, uri, headers))
            && self.query_params.iter().all(|(name, wanted)| query_matches(name, wanted, uri))
    }
}

/// A header that comes several times is one list (RFC 9110 5.3).
fn header_matches(name: &HeaderName, wanted: &Wanted, uri: &Uri, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        // HTTP/2 says it in :authority
        (None, _) if name == HOST => {
            uri.authority().is_some_and(|authority| wanted.matches(authority.as_str().as_bytes()))
        }
        (None, _) => false,
        (Some(only), None) => wanted.matches(only.as_bytes()),
        (Some(_), Some(_)) => {
            let all: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            wanted.matches(&all.join(&b", "[..]))
        }
    }
}

/// The first parameter of that name counts (Gateway API recommends it). Both are compared as they were meant: `%20` and
/// `+` are spaces.
fn query_matches(name: &str, wanted: &Wanted, uri: &Uri) -> bool {
    let mut pairs = uri.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *decoded(key) == *name.as_bytes()).is_some_and(|(_, value)| wanted.matches(&decoded(value)))
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text.as_bytes());
    }
    let spaced: Vec<u8> = text.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }).collect();
    Cow::Owned(crate::policy::path::percent_decoded(&spaced).into_owned())
}
