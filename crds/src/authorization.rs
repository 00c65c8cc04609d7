//! `authorization`: who may call, and what. Enforced at the called side, by the proxies of the target's Pods.
//!
//! Everything below `rules` keeps unknown fields (`schema.rs` sees to that): the API server would silently prune a
//! condition that it doesn't know, and a rule with a condition less means more callers.

use crate::scalars::{IpBlock, Method, Name, Path, PathMatchType, Port, word};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

word!(/// Allow or Deny.
    Verdict { Allow = "Allow", Deny = "Deny" });
word!(/// What a rule does.
    Action { Deny = "Deny", Allow = "Allow" });

pub(crate) const EMPTY_AUTHORIZATION: &str = "authorization says nothing; set default or rules, or remove it";
pub(crate) const EMPTY_FROM: &str = "an empty entry would match every caller; give ipBlocks or not";
pub(crate) const EMPTY_NOT: &str = "an empty not would exclude nobody; give ipBlocks, or remove not";
pub(crate) const EMPTY_TO: &str = "an empty entry would match every request; give ports, methods or paths";
pub(crate) const PATH_WITHOUT_SLASH: &str = "must start with '/'; or set type: RegularExpression";
pub(crate) const PATH_NOT_NORMAL: &str =
    "must be a normalized path: without '//', '/./', '/../', '%2f', '#', '?' and spaces";

/// Who may call the targets' workloads.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.default) || has(self.rules)").message(EMPTY_AUTHORIZATION))]
pub struct Authorization {
    /// What holds when no rule matches: Allow or Deny. Unset: Deny as soon as one Allow rule (of any policy) selects
    /// the workload, else Allow. Of several policies the strictest counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Verdict>,
    /// The rules, 1 to 64, each with a name of its own. Their order means nothing: a Deny that matches always wins,
    /// then any Allow that matches. Rules of several policies unite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<AuthRule>,
}

/// A rule: what is done with calls that match from and to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthRule {
    /// The rule's name, a DNS label, which logs and metrics carry. Example: offices-read.
    pub name: Name,
    /// Deny or Allow. A Deny wins over every Allow, whichever policy it is in.
    pub action: Action,
    /// Which callers: any of the entries, 1 to 16. Unset: every caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub from: Vec<Peer>,
    /// Which requests: any of the entries, 1 to 16. Unset: every request and connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub to: Vec<Operation>,
}

/// Callers. Every field that is set must hold.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.ipBlocks) || has(self.not)").message(EMPTY_FROM))]
pub struct Peer {
    /// The caller's address is in one of these networks: 1 to 64 in CIDR form, without host bits. It is the address
    /// that the connection comes from; no header is asked. Example: [10.0.0.0/8, "fd00::/8"].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ip_blocks: Vec<IpBlock>,
    /// The caller is none of these. Example: {ipBlocks: [10.9.0.0/16]}.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<NotPeer>,
}

/// Callers that are excluded: whoever one of the fields names.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.ipBlocks)").message(EMPTY_NOT))]
pub struct NotPeer {
    /// The caller's address is in none of these networks: 1 to 64 in CIDR form, without host bits. Example:
    /// [10.9.0.0/16].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ip_blocks: Vec<IpBlock>,
}

/// Requests. Every field that is set must hold.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.ports) || has(self.methods) || has(self.paths)").message(EMPTY_TO))]
pub struct Operation {
    /// The workload's port is one of these, 1 to 64: the port that the container listens on, not the Service's.
    /// Example: [8080, 9090].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ports: Vec<Port>,
    /// The HTTP method is one of these. On a connection that isn't HTTP an Allow rule with methods doesn't match, and a
    /// Deny rule matches by its other fields. Example: [GET, HEAD].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 9))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub methods: Vec<Method>,
    /// The path matches one of these, 1 to 16. On a connection that isn't HTTP as for methods. Example:
    /// [{type: PathPrefix, value: /admin}].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub paths: Vec<PathMatch>,
}

/// A path, of the request's target without the query.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.type == 'RegularExpression' || self.value.startsWith('/')")
        .message(PATH_WITHOUT_SLASH).field_path(".value"),
    validation = Rule::new("self.type == 'RegularExpression' || (['//', '/./', '/../', '%2f', '%2F', '#', '?', ' ']\
            .all(s, !self.value.contains(s)) && !self.value.endsWith('/.') && !self.value.endsWith('/..'))")
        .message(PATH_NOT_NORMAL).field_path(".value")
)]
pub struct PathMatch {
    /// How the value is compared: Exact (the whole path), PathPrefix (whole segments: /api matches /api and /api/v1,
    /// not /apis) or RegularExpression (it must match the whole path). Default: PathPrefix.
    #[serde(default = "path_prefix")]
    pub r#type: PathMatchType,
    /// The path, the prefix or the expression, up to 1024 characters. Example: /api.
    pub value: Path,
}

fn path_prefix() -> PathMatchType {
    PathMatchType::PathPrefix
}
