//! `routes`: where calls to the target Service go, and how long they may take. Enforced at the calling side.

use crate::authorization::PathMatch;
use crate::scalars::{
    CoreGroup, Duration, HeaderName, HeaderValue, Method, Name, Port, QueryValue, ValueMatchType, word,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

word!(/// The kind of a backend.
    BackendKind { Service = "Service" });

pub(crate) const EMPTY_MATCH: &str =
    "an empty entry would match every request; give path, method, headers or queryParams, or leave matches out";
pub(crate) const WEIGHTS_ALL_ZERO: &str =
    "the weights are all zero; give at least one backendRef a weight of 1 or more";
pub(crate) const EMPTY_TIMEOUTS: &str = "timeouts says nothing; set request, backendRequest or idle, or remove it";
pub(crate) const BACKEND_REQUEST_TOO_LONG: &str =
    "backendRequest must be at most request; shorten it, or lengthen request";

/// A route: which requests it takes, where they go, how long they may take.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// The route's name, a DNS label, which logs, metrics and conflicts carry. Example: canary.
    pub name: Name,
    /// Which requests: any of the entries, 1 to 64. Unset: every request. A request that no route matches goes to the
    /// Service as if there were no routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub matches: Vec<RouteMatch>,
    /// Where matching requests go, by weight, 1 to 16. Unset: to the target Service itself. Example:
    /// [{name: reviews-v1, port: 80, weight: 90}, {name: reviews-v2, port: 80, weight: 10}].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.exists(b, b.weight > 0)").message(WEIGHTS_ALL_ZERO))]
    pub backend_refs: Vec<BackendRef>,
    /// How long matching requests may take. Example: {request: 5s, backendRequest: 2s}.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
}

/// Requests. Every field that is set must hold. Of several routes that match, the most specific match wins as in
/// Gateway API: an exact path, then the longest prefix, then a method, then the number of headers and of query
/// parameters.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.path) || has(self.method) || has(self.headers) || has(self.queryParams)")
    .message(EMPTY_MATCH))]
pub struct RouteMatch {
    /// The request's path. Example: {type: PathPrefix, value: /api}.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// The request's method. Example: GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Headers, 1 to 16, all of which must match; names don't mind case. Example: [{name: x-canary, value: "1"}].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<HeaderMatch>,
    /// Query parameters, 1 to 16, all of which must match; names mind case. Example: [{name: beta, value: "true"}].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub query_params: Vec<QueryParamMatch>,
}

/// A header.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct HeaderMatch {
    /// How the value is compared: Exact or RegularExpression (it must match the whole value). Default: Exact.
    #[serde(default = "exact")]
    pub r#type: ValueMatchType,
    /// The header's name. Example: x-canary.
    pub name: HeaderName,
    /// The value or the expression, up to 4096 characters. Example: "1".
    pub value: HeaderValue,
}

/// A query parameter.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct QueryParamMatch {
    /// How the value is compared: Exact or RegularExpression (it must match the whole value). Default: Exact.
    #[serde(default = "exact")]
    pub r#type: ValueMatchType,
    /// The parameter's name. Example: beta.
    pub name: HeaderName,
    /// The value or the expression, up to 1024 characters. Example: "true".
    pub value: QueryValue,
}

fn exact() -> ValueMatchType {
    ValueMatchType::Exact
}

/// A Service that takes a share of the requests. What it sends on is not routed again.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct BackendRef {
    /// The API group of the backend: "" (the core group), which is also the default.
    #[serde(default = "core")]
    pub group: CoreGroup,
    /// The kind of the backend: Service, which is also the default.
    #[serde(default = "service")]
    pub kind: BackendKind,
    /// The name of the Service. Example: reviews-v2.
    pub name: Name,
    /// The namespace of the Service. Unset: the policy's own. Another one needs no grant. Example: shop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Name>,
    /// The port of the Service (not the target port). Example: 80.
    pub port: Port,
    /// The share of requests, from 0 to 1000000, in proportion to the sum of all weights of the route; 0: none.
    /// Default: 1. Example: 10.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: i32,
}

fn core() -> CoreGroup {
    CoreGroup::Core
}

fn service() -> BackendKind {
    BackendKind::Service
}

fn one() -> i32 {
    1
}

/// How long a request may take. One that takes longer is answered with 504, if its answer hasn't begun.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.request) || has(self.backendRequest) || has(self.idle)").message(EMPTY_TIMEOUTS),
    validation = Rule::new("!has(self.request) || !has(self.backendRequest) || duration(self.request) == duration('0s') \
            || duration(self.backendRequest) <= duration(self.request)")
        .message(BACKEND_REQUEST_TOO_LONG).field_path(".backendRequest")
)]
pub struct Timeouts {
    /// From the caller's request to the end of the answer, all tries together. 0s: no limit. Default: no limit.
    /// Example: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// For each single try to a backend, of which one request may need several; at most request. 0s: no limit of its
    /// own. Default: no limit. Example: 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<Duration>,
    /// How long a request may go without a byte in either direction; never for upgraded connections such as WebSockets.
    /// 0s: no limit. Default: 300s. Example: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
}
