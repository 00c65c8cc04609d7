//! The resource itself: its names, its columns, its sections.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn repeats type_ and priority")]

use crate::authorization::Authorization;
use crate::protocol::ProtocolSection;
use crate::route::Route;
use crate::scalars::word;
use crate::status::MeshPolicyStatus;
use crate::target::TargetRef;
use crate::telemetry::Telemetry;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

word!(/// Whether a policy is applied or only evaluated.
    Mode { Enforce = "Enforce", DryRun = "DryRun" });

pub(crate) const NO_SECTION: &str = "the policy sets nothing; set one of authorization, protocol, routes and telemetry";
pub(crate) const ROUTES_WITHOUT_SERVICE: &str =
    "routes hold for targets of kind Service alone; add the called Service to targetRefs, or remove routes";

/// What the policy is about, and the sections it sets. A field that is unset inherits: from a less specific policy (of
/// the namespace, say), else from the default that the field's description names.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "outrigger.dev",
    version = "v1alpha1",
    kind = "MeshPolicy",
    plural = "meshpolicies",
    singular = "meshpolicy",
    shortname = "mp",
    category = "mesh",
    namespaced,
    status = "MeshPolicyStatus",
    derive = "PartialEq",
    doc = "What the mesh does with calls: who may call the targets, how calls to them are routed and for how long, what \
           their ports speak, and what is logged. See kubectl explain meshpolicy.spec.",
    label("gateway.networking.k8s.io/policy", "Inherited"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.summary.target"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#
    ),
    printcolumn(
        name = "Enforced",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Enforced")].status"#
    ),
    printcolumn(name = "Proxies", type_ = "string", json_path = ".status.summary.proxies"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority", priority = 1),
    printcolumn(name = "Hash", type_ = "string", json_path = ".status.summary.hash", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.status=="False")].message"#
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.authorization) || has(self.protocol) || has(self.routes) || has(self.telemetry)")
        .message(NO_SECTION),
    validation = Rule::new("!has(self.routes) || self.targetRefs.exists(t, t.kind == 'Service')")
        .message(ROUTES_WITHOUT_SERVICE).field_path(".routes").reason(Reason::FieldValueForbidden)
)]
pub struct MeshPolicySpec {
    /// What the policy is about, 1 to 16 targets of the policy's own namespace. Where policies meet, Namespace yields
    /// to Service, that to Pod, that to Service with sectionName. Example: [{kind: Service, name: reviews}].
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub target_refs: Vec<TargetRef>,
    /// Enforce, or DryRun: the policy is evaluated beside the enforced ones, counted and logged, and never applied.
    /// Default: Enforce.
    #[serde(default = "enforce")]
    pub mode: Mode,
    /// Between policies of the same specificity the higher one wins, from -100 to 100; then the older one, then the
    /// name. Default: 0.
    #[serde(default)]
    #[schemars(range(min = -100, max = 100))]
    pub priority: i32,

    /// Who may call the targets' workloads; enforced at the called side. Example: {default: Deny, rules: [{name:
    /// offices, action: Allow, from: [{ipBlocks: [10.0.0.0/8]}]}]}.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// What the ports of the targets' workloads speak. Example: {ports: [{port: 6379, protocol: TCP}]}.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolSection>,
    /// Where calls to the target Services go and how long they may take, 1 to 16 routes, each with a name of its own;
    /// enforced at the calling side. Routes of several policies merge by name. Example: [{name: slow, timeouts:
    /// {request: 5s}}].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub routes: Vec<Route>,
    /// What the proxies of the targets' workloads write down. Example: {accessLog: {format: JSON, filter: status >=
    /// 500}}.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
}

fn enforce() -> Mode {
    Mode::Enforce
}
