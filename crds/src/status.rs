//! `status`: what the mesh made of a policy. Written by the operator alone, by server-side apply.

#![allow(rustdoc::broken_intra_doc_links, reason = "descriptions hold examples such as routes[canary]")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the mesh made of the policy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MeshPolicyStatus {
    /// The generation of the spec that the rest is about. Less than metadata.generation: the operator hasn't seen the
    /// last change yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// A short form, for kubectl get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Accepted (the policy makes sense), ResolvedRefs (what it points at exists), Programmed (it is in the proxies'
    /// configuration) and Enforced (proxies say that they run it).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// One entry for each of targetRefs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["ref".into()]))]
    pub targets: Vec<TargetStatus>,
    /// What another policy overrules, up to 64 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub conflicts: Vec<Conflict>,
}

/// A short form of the status. Empty strings stand for what isn't known.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Summary {
    /// The first target, and how many more there are. Example: Service/reviews +1.
    #[schemars(length(max = 512))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Proxies that run the policy, of those that should. Example: 12/12.
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proxies: String,
    /// The hash of the configuration that holds the policy. Example: sha256:9f86d0….
    #[schemars(length(max = 128))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// What became of one target.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct TargetStatus {
    /// The target. Example: Service/reviews.
    // the longest: kind Pod with 16 labels
    #[schemars(length(max = 8192))]
    pub r#ref: String,
    /// How many proxies should run the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub proxies: Option<i32>,
    /// How many of them say that they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub enforcing: Option<i32>,
    /// How many of them refuse the configuration that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub refusing: Option<i32>,
    /// The hash of the configuration that they should run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub hash: Option<String>,
}

/// A field of this policy that another policy overrules, or that overrules another's.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Conflict {
    /// The field. Example: routes[canary].
    #[schemars(length(max = 512))]
    pub field: String,
    /// The other policy, as namespace/name.
    #[schemars(length(max = 512))]
    pub with: String,
    /// The policy that holds, as namespace/name.
    #[schemars(length(max = 512))]
    pub winner: String,
}
