//! The webhook object's selectors, as data in one place: what the manifest must say, and what the injector assumes of
//! the calls that reach it.
//!
//! Two webhooks, so that no Pod is sent twice: `ns` for Pods that say nothing themselves, `pod` for those that do. Of
//! all label combinations at most one matches, wrong values reach us (to be refused by name), `disabled` never does.

use crate::view::{Map, NamespaceView};
use mesh_config::{Mesh, mesh::DefaultInjection, names};
use serde::Serialize;

/// The label that the API server puts on every namespace.
const LABEL_NAMESPACE: &str = "kubernetes.io/metadata.name";
/// Where the API server's own things live; nothing there is ever touched.
pub const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Which of the two webhooks a call came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Ns,
    Pod,
}

impl Path {
    /// The URL's path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Path::Ns => "/inject/ns",
            Path::Pod => "/inject/pod",
        }
    }
}

/// One webhook of the `MutatingWebhookConfiguration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub name: &'static str,
    pub path: Path,
    pub namespace_selector: LabelSelector,
    pub object_selector: LabelSelector,
}

/// As Kubernetes writes it: `{"matchExpressions": […]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    pub match_expressions: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    pub key: &'static str,
    pub operator: Operator,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Operator {
    Exists,
    DoesNotExist,
    NotIn,
}

impl LabelSelector {
    /// `NotIn` holds where the key is absent (Kubernetes docs, "Labels and Selectors").
    pub fn matches(&self, labels: &Map) -> bool {
        self.match_expressions.iter().all(|requirement| {
            let value = labels.get(requirement.key);
            match requirement.operator {
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
                Operator::NotIn => value.is_none_or(|value| !requirement.values.contains(value)),
            }
        })
    }
}

/// Both webhooks, as the manifest for this `mesh.yaml` must have them.
pub fn webhooks(mesh: &Mesh) -> [Webhook; 2] {
    let inject = |operator| Requirement { key: names::LABEL_INJECT, operator, values: Vec::new() };
    let not_disabled =
        Requirement { key: names::LABEL_INJECT, operator: Operator::NotIn, values: vec!["disabled".into()] };
    let elsewhere = Requirement {
        key: LABEL_NAMESPACE,
        operator: Operator::NotIn,
        values: excluded(mesh).map(str::to_owned).collect(),
    };
    let select = |match_expressions| LabelSelector { match_expressions };
    let asked = match mesh.default_injection {
        DefaultInjection::Disabled => vec![elsewhere.clone(), inject(Operator::Exists), not_disabled.clone()],
        DefaultInjection::Enabled => vec![elsewhere.clone(), not_disabled.clone()],
    };
    [
        Webhook {
            name: "ns.inject.outrigger.dev",
            path: Path::Ns,
            namespace_selector: select(asked),
            object_selector: select(vec![inject(Operator::DoesNotExist)]),
        },
        Webhook {
            name: "pod.inject.outrigger.dev",
            path: Path::Pod,
            namespace_selector: select(vec![elsewhere]),
            object_selector: select(vec![inject(Operator::Exists), not_disabled]),
        },
    ]
}

/// Namespaces that are never touched. A control plane that runs elsewhere than in [`names::SYSTEM_NAMESPACE`] adds its
/// own to `mesh.excluded_namespaces`.
pub fn excluded(mesh: &Mesh) -> impl Iterator<Item = &str> {
    let fixed = SYSTEM_NAMESPACES.into_iter().chain([names::SYSTEM_NAMESPACE]);
    fixed.chain(mesh.excluded_namespaces.iter().map(String::as_str))
}

/// Would the API server, seeing this namespace, send us a Pod on this path? If not, it has seen a newer one.
pub fn namespace_selected(path: Path, namespace: &NamespaceView, mesh: &Mesh) -> bool {
    let mut labels = namespace.labels.clone();
    labels.insert(LABEL_NAMESPACE.into(), namespace.name.clone());
    webhooks(mesh).iter().any(|webhook| webhook.path == path && webhook.namespace_selector.matches(&labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decision, inject};
    use serde_json::{Value, json};

    const VALUES: [Option<&str>; 4] = [None, Some("enabled"), Some("disabled"), Some("true")];

    fn labelled(value: Option<&str>) -> Map {
        value.map(|value| (names::LABEL_INJECT.to_owned(), value.to_owned())).into_iter().collect()
    }

    fn pod(label: Option<&str>, annotation: Option<&str>) -> Value {
        json!({"metadata": {"labels": labelled(label), "annotations": labelled(annotation)},
            "spec": {"containers": [{"name": "web", "image": "web"}]}})
    }

    fn matching(pod_label: Option<&str>, namespace: &NamespaceView, mesh: &Mesh) -> usize {
        let selected = |webhook: &&Webhook| {
            webhook.object_selector.matches(&labelled(pod_label)) && namespace_selected(webhook.path, namespace, mesh)
        };
        webhooks(mesh).iter().filter(selected).count()
    }

    #[test]
    fn whatever_is_injected_is_sent_to_us_and_once_at_most() {
        let mut injected = 0;
        for default_injection in [DefaultInjection::Disabled, DefaultInjection::Enabled] {
            let mesh = Mesh { default_injection, excluded_namespaces: vec!["legacy".into()], ..Mesh::default() };
            for name in ["shop", "legacy", "kube-system", names::SYSTEM_NAMESPACE] {
                for (namespace_label, pod_label) in VALUES.into_iter().flat_map(|v| VALUES.map(|w| (v, w))) {
                    let namespace = NamespaceView { labels: labelled(namespace_label), ..NamespaceView::named(name) };
                    let calls = matching(pod_label, &namespace, &mesh);
                    assert!(calls <= 1);
                    for annotation in VALUES {
                        let outcome = inject(&pod(pod_label, annotation), &namespace, &mesh).unwrap();
                        if let Decision::Patch(_) = outcome.decision {
                            injected += 1;
                            assert_eq!(calls, 1, "{name} {namespace_label:?} {pod_label:?} {annotation:?}");
                        }
                    }
                }
            }
        }
        // in `shop` alone: 9 by the Pod's label, 2 by the namespace's, and 2 by default where that is to inject
        assert_eq!(injected, 2 * (9 + 2) + 2);
    }

    #[test]
    fn wrong_values_reach_us_and_disabled_never_does() {
        let mesh = Mesh::default();
        let shop = |label| NamespaceView { labels: labelled(label), ..NamespaceView::named("shop") };
        assert_eq!(matching(Some("true"), &shop(None), &mesh), 1);
        assert_eq!(matching(None, &shop(Some("true")), &mesh), 1);
        assert_eq!(matching(Some("disabled"), &shop(Some("enabled")), &mesh), 0);
        assert_eq!(matching(None, &shop(Some("disabled")), &mesh), 0);
        assert_eq!(matching(None, &shop(None), &mesh), 0);
    }

    #[test]
    fn they_are_written_as_kubernetes_reads_them() {
        let [ns, _] = webhooks(&Mesh::default());
        assert_eq!(
            serde_json::to_value(&ns.namespace_selector).unwrap(),
            json!({"matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn",
                 "values": ["kube-system", "kube-public", "kube-node-lease", "outrigger-system"]},
                {"key": "outrigger.dev/inject", "operator": "Exists"},
                {"key": "outrigger.dev/inject", "operator": "NotIn", "values": ["disabled"]}]})
        );
    }
}
