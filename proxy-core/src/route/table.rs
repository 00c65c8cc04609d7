//! Matches by path, best first.

use super::Route;
use super::value::Values;
use http::{HeaderMap, Method, Uri};
use mesh_config::proxy::{PathMatchType, RouteMatch, validate::full_match};
use mesh_config::{Problems, proxy::PathMatch};
use regex::Regex;
use std::cmp::Reverse;
use std::{collections::HashMap, sync::Arc};

/// All matches of all routes of a port.
#[derive(Debug, Default)]
pub(super) struct Table {
    exact: HashMap<Box<str>, Vec<Candidate>>,
    expressions: Vec<(Regex, Candidate)>,
    /// By the prefix without its last `/`: the prefix `/` stands under the empty text.
    prefixes: HashMap<Box<str>, Vec<Candidate>>,
    /// No prefix is longer, so a long path costs no more lookups than this allows.
    longest_prefix: usize,
}

/// One match of one route.
#[derive(Debug)]
struct Candidate {
    rank: Rank,
    method: Option<Method>,
    values: Values,
    route: Arc<Route>,
}

/// How specific a match is: the greater one wins. What is equal is decided by the route's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    path: PathRank,
    method: bool,
    headers: usize,
    query_params: usize,
}

/// From the least specific to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    /// With its length in bytes.
    Prefix(usize),
    /// With its length in bytes.
    Expression(usize),
    Exact,
}

impl Candidate {
    fn matches(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted == method) && self.values.match_all(uri, headers)
    }

    /// Ascending is best first.
    fn order(&self) -> (Reverse<Rank>, &str) {
        (Reverse(self.rank), &self.route.name)
    }
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.expressions.is_empty() && self.prefixes.is_empty()
    }

    /// Adds a match; [`sort`](Self::sort) has to follow.
    pub(super) fn add(&mut self, path: &str, route_match: &RouteMatch, route: &Arc<Route>, problems: &mut Problems) {
        let method = route_match.method.as_ref().and_then(|method| match Method::from_bytes(method.as_bytes()) {
            Ok(method) => Some(method),
            Err(error) => {
                problems.add(format!("{path}.method"), error);
                None
            }
        });
        let values = Values::new(path, route_match, problems);
        let everything = PathMatch { kind: PathMatchType::PathPrefix, value: "/".into() };
        let PathMatch { kind, value } = route_match.path.as_ref().unwrap_or(&everything);
        let rank = Rank {
            path: match kind {
                PathMatchType::Exact => PathRank::Exact,
                PathMatchType::RegularExpression => PathRank::Expression(value.len()),
                PathMatchType::PathPrefix => PathRank::Prefix(without_last_slash(value).len()),
            },
            method: method.is_some(),
            headers: values.headers(),
            query_params: values.query_params(),
        };
        let candidate = Candidate { rank, method, values, route: Arc::clone(route) };
        match kind {
            PathMatchType::Exact => self.exact.entry(value.as_str().into()).or_default().push(candidate),
            PathMatchType::RegularExpression => match full_match(value) {
                Ok(expression) => self.expressions.push((expression, candidate)),
                Err(error) => problems.add(format!("{path}.path.value"), error),
            },
            PathMatchType::PathPrefix => {
                let prefix = without_last_slash(value);
                self.longest_prefix = self.longest_prefix.max(prefix.len());
                self.prefixes.entry(prefix.into()).or_default().push(candidate);
            }
        }
    }

    /// Puts the best first, wherever several are asked in turn.
    pub(super) fn sort(&mut self) {
        for candidates in self.exact.values_mut().chain(self.prefixes.values_mut()) {
            candidates.sort_by(|one, other| one.order().cmp(&other.order()));
        }
        self.expressions.sort_by(|(_, one), (_, other)| one.order().cmp(&other.order()));
    }

    pub(super) fn find(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<&Arc<Route>> {
        let path = uri.path();
        if let Some(route) = first(self.exact.get(path), method, uri, headers) {
            return Some(route);
        }
        let expression = self
            .expressions
            .iter()
            .find(|(expression, candidate)| candidate.matches(method, uri, headers) && expression.is_match(path));
        if let Some((_, candidate)) = expression {
            return Some(&candidate.route);
        }
        if self.prefixes.is_empty() {
            return None;
        }
        prefixes(path, self.longest_prefix).find_map(|prefix| first(self.prefixes.get(prefix), method, uri, headers))
    }
}

fn first<'a>(
    candidates: Option<&'a Vec<Candidate>>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<&'a Arc<Route>> {
    let candidate = candidates?.iter().find(|candidate| candidate.matches(method, uri, headers))?;
    Some(&candidate.route)
}

/// The texts under which a prefix of this path may stand, longest first: the path itself, each part of it that ends
/// before a `/`, and the empty text, which every path begins with.
fn prefixes(path: &str, longest: usize) -> impl Iterator<Item = &str> {
    // what is longer than every prefix needs no lookup; the cut must leave a segment's end in sight
    let bytes = path.as_bytes();
    let whole = (path.len() <= longest).then_some(path.len());
    let ends = (0..=longest.min(path.len().saturating_sub(1))).rev().filter(|at| bytes.get(*at) == Some(&b'/'));
    // a path that doesn't begin with '/' ("*", or that of a CONNECT) has only itself and the empty text
    let nothing = (!path.starts_with('/')).then_some(0);
    whole.into_iter().chain(ends).chain(nothing).filter_map(|end| path.get(..end))
}

/// Gateway API: "Prefix `/abc` and `/abc/` match the same".
fn without_last_slash(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_where_segments_do() {
        let all = |path| prefixes(path, 100).collect::<Vec<_>>();
        assert_eq!(all("/a/bc/"), ["/a/bc/", "/a/bc", "/a", ""]);
        assert_eq!(all("/"), ["/", ""]);
        assert_eq!(all("//a"), ["//a", "/", ""]);
        assert_eq!(all("*"), ["*", ""]);
        assert_eq!(all(""), ["", ""]);
        assert_eq!(prefixes("/a/bc/d", 2).collect::<Vec<_>>(), ["/a", ""]);
        assert_eq!(prefixes("/a/bc/d", 0).collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn the_order_is_that_of_gateway_api() {
        let rank = |path, method, headers, query_params| Rank { path, method, headers, query_params };
        let best_first = [
            rank(PathRank::Exact, true, 0, 0),
            rank(PathRank::Exact, false, 9, 9),
            rank(PathRank::Expression(1), false, 0, 0),
            rank(PathRank::Prefix(9), false, 0, 0),
            rank(PathRank::Prefix(1), true, 0, 0),
            rank(PathRank::Prefix(1), false, 2, 0),
            rank(PathRank::Prefix(1), false, 1, 5),
            rank(PathRank::Prefix(1), false, 1, 0),
        ];
        assert!(best_first.is_sorted_by(|one, other| one > other));
    }
}
