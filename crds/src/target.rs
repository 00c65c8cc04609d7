//! What a policy is about.

use crate::scalars::{CoreGroup, LabelValue, Name, word};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

word!(/// The kind of a target.
    TargetKind { Namespace = "Namespace", Service = "Service", Pod = "Pod" });

pub(crate) const SELECTOR_WITHOUT_POD: &str = "selector belongs to kind Pod alone; remove it, or set kind: Pod";
pub(crate) const POD_WITHOUT_SELECTOR: &str =
    "kind Pod needs selector, for example selector: {matchLabels: {app: reviews}}";
pub(crate) const SECTION_NAME_WITHOUT_SERVICE: &str =
    "sectionName (the name of a Service's port) belongs to kind Service alone; remove it, or set kind: Service";
pub(crate) const SERVICE_WITHOUT_NAME: &str = "kind Service needs name";
pub(crate) const POD_WITH_NAME: &str = "kind Pod has no name; remove it, and choose the Pods with selector";
pub(crate) const LONG_LABEL_KEY: &str = "a label's key has at most 317 characters, for example app.kubernetes.io/name";

/// One target. All of them are in the policy's own namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.kind == 'Pod' || !has(self.selector)")
        .message(SELECTOR_WITHOUT_POD).field_path(".selector").reason(Reason::FieldValueForbidden),
    validation = Rule::new("self.kind != 'Pod' || has(self.selector)")
        .message(POD_WITHOUT_SELECTOR).field_path(".selector").reason(Reason::FieldValueRequired),
    validation = Rule::new("self.kind == 'Service' || !has(self.sectionName)")
        .message(SECTION_NAME_WITHOUT_SERVICE).field_path(".sectionName").reason(Reason::FieldValueForbidden),
    validation = Rule::new("self.kind != 'Service' || has(self.name)")
        .message(SERVICE_WITHOUT_NAME).field_path(".name").reason(Reason::FieldValueRequired),
    validation = Rule::new("self.kind != 'Pod' || !has(self.name)")
        .message(POD_WITH_NAME).field_path(".name").reason(Reason::FieldValueForbidden)
)]
pub struct TargetRef {
    /// The API group of the target: "" (the core group), which is also what leaving it out means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<CoreGroup>,
    /// What the target is: Namespace (every workload in it), Service (the Pods behind it, and the calls to it) or Pod
    /// (the Pods that a selector chooses).
    pub kind: TargetKind,
    /// The name of the Service; required for kind Service. For kind Namespace it may be left out, and is the policy's
    /// own namespace. Kind Pod has none. Example: reviews.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The name of one port of the Service. Unset: all its ports. Sections for the called side then hold on that port's
    /// target port, routes on calls to that port. Example: http.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<Name>,
    /// Which Pods of the namespace are meant; for kind Pod, and required there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<PodSelector>,
}

/// Which Pods are meant.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSelector {
    /// Labels that a Pod must carry, 1 to 16, all of them. Example: {app: reviews, version: v2}.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    #[x_kube(
        merge_strategy = MapMerge::Atomic,
        // the whole form is in check.rs: matches() on keys, which have no bound of their own, is far over the cost
        // limit
        validation = Rule::new("self.all(k, size(k) <= 317)").message(LONG_LABEL_KEY))]
    pub match_labels: BTreeMap<String, LabelValue>,
}

/// A target that makes sense: what a [`TargetRef`] says once it is checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Every workload of the policy's namespace.
    Namespace,
    /// The Pods behind the Service, and the calls to it; with `port`, on that port of it alone.
    Service { name: String, port: Option<String> },
    /// The Pods that carry all these labels.
    Pods(BTreeMap<String, String>),
}

impl TargetRef {
    /// `None` where name or selector are missing.
    pub fn target(&self) -> Option<Target> {
        match self.kind {
            TargetKind::Namespace => Some(Target::Namespace),
            TargetKind::Service => Some(Target::Service {
                name: self.name.as_ref()?.0.clone(),
                port: self.section_name.as_ref().map(|port| port.0.clone()),
            }),
            TargetKind::Pod => {
                let labels = &self.selector.as_ref()?.match_labels;
                Some(Target::Pods(labels.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect()))
            }
        }
    }
}

impl Target {
    /// What wins where two policies meet: Namespace, then Service, Pod, Service with a port.
    pub fn specificity(&self) -> u8 {
        match self {
            Target::Namespace => 0,
            Target::Service { port: None, .. } => 1,
            Target::Pods(_) => 2,
            Target::Service { port: Some(_), .. } => 3,
        }
    }
}

impl fmt::Display for Target {
    /// As in the policy's status: `Namespace`, `Service/reviews`, `Service/reviews:http`, `Pod/app=reviews`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Namespace => f.write_str("Namespace"),
            Target::Service { name, port: None } => write!(f, "Service/{name}"),
            Target::Service { name, port: Some(port) } => write!(f, "Service/{name}:{port}"),
            Target::Pods(labels) => {
                for (i, (key, value)) in labels.iter().enumerate() {
                    write!(f, "{}{key}={value}", if i == 0 { "Pod/" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}
