//! Whether a Pod is injected: a table, and the first row that holds wins. Pure.

use crate::selectors::excluded;
use crate::view::{NamespaceView, Pod};
use crate::{Reason, existing};
use mesh_config::{Mesh, Problems, mesh::DefaultInjection, names};

/// What the table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Leave(Reason),
    Refuse(Reason, Problems),
    Inject(Reason),
    /// Our parts are in the Pod: take them out, plan anew, and compare.
    Replan,
}

/// A value of `outrigger.dev/inject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inject {
    Enabled,
    Disabled,
}

/// Containers that make a Pod another mesh's: two captures in one network namespace would feed each other.
const FOREIGN: [&str; 11] = [
    "istio-proxy",
    "istio-init",
    "istio-validation",
    "linkerd-proxy",
    "linkerd-init",
    "linkerd-network-validator",
    "kuma-sidecar",
    "kuma-init",
    "consul-dataplane",
    "consul-connect-inject-init",
    "osm-init",
];

/// Rows 1 (its second half) to 12 of the design's table; row 1's first half is about the request, not the Pod.
pub(crate) fn decide(pod: &Pod, namespace: &NamespaceView, mesh: &Mesh, warnings: &mut Vec<String>) -> Verdict {
    let mut problems = Problems::default();
    let mut read = |path: &str, value: Option<&str>| match value? {
        "enabled" => Some(Inject::Enabled),
        "disabled" => Some(Inject::Disabled),
        wrong => {
            problems.add(path, format!("'{wrong}' is neither enabled nor disabled"));
            None
        }
    };
    let label = read(&format!("metadata.labels[{}]", names::LABEL_INJECT), pod.inject_label());
    let annotation = read(&format!("metadata.annotations[{}]", names::LABEL_INJECT), pod.inject_annotation());
    let namespace_label = read(
        &format!("namespace {}: metadata.labels[{}]", namespace.name, names::LABEL_INJECT),
        namespace.labels.get(names::LABEL_INJECT).map(String::as_str),
    );
    let pod_disabled = label.or(annotation.filter(|_| pod.inject_label().is_none())) == Some(Inject::Disabled);
    let asked = !pod_disabled && label.or(namespace_label) == Some(Inject::Enabled);

    if pod.is_mirror() {
        return Verdict::Leave(Reason::MirrorPod);
    }
    if excluded(mesh).any(|name| name == namespace.name) {
        return Verdict::Leave(Reason::SystemNamespace);
    }
    if pod.is_windows() {
        return Verdict::Leave(Reason::WindowsPod);
    }
    if pod.spec.host_network {
        if asked {
            warnings.push("not injected (HostNetwork): a Pod with hostNetwork: true can't be captured".into());
        }
        return Verdict::Leave(Reason::HostNetwork);
    }
    if !problems.0.is_empty() {
        return Verdict::Refuse(Reason::InvalidInjectValue, problems);
    }
    if pod_disabled {
        return Verdict::Leave(Reason::PodDisabled);
    }
    if let Some(name) = pod.spec.all_containers().map(|at| at.container.name.as_str()).find(|n| FOREIGN.contains(n)) {
        warnings.push(format!("not injected (ForeignSidecar): container {name} belongs to another mesh"));
        return Verdict::Leave(Reason::ForeignSidecar);
    }
    if existing::is_ours(pod) {
        return Verdict::Replan;
    }
    let verdict = match (label, namespace_label) {
        (Some(_), _) => Verdict::Inject(Reason::PodEnabled),
        (None, Some(Inject::Disabled)) => Verdict::Leave(Reason::NamespaceDisabled),
        (None, Some(Inject::Enabled)) => Verdict::Inject(Reason::NamespaceEnabled),
        (None, None) => match mesh.default_injection {
            DefaultInjection::Enabled => Verdict::Inject(Reason::DefaultPolicy),
            DefaultInjection::Disabled => Verdict::Leave(Reason::DefaultPolicy),
        },
    };
    if annotation == Some(Inject::Enabled) && matches!(verdict, Verdict::Leave(_)) {
        warnings.push("outrigger.dev/inject: enabled as an annotation has no effect: write it as a label".into());
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    fn verdict(pod: Value, namespace: Value) -> (Verdict, Vec<String>) {
        let mut warnings = Vec::new();
        let pod = Pod::deserialize(&pod).unwrap();
        let namespace = NamespaceView::deserialize(&namespace).unwrap();
        (decide(&pod, &namespace, &Mesh::default(), &mut warnings), warnings)
    }

    fn inject(value: &str) -> Value {
        json!({"outrigger.dev/inject": value})
    }

    #[test]
    fn the_first_row_that_holds_wins() {
        let ours = json!({"initContainers": [{"name": "outrigger-proxy", "env": [{"name": "OUTRIGGER_POD_NAME"}]}]});
        let foreign = json!({"containers": [{"name": "istio-proxy"}]});
        let mirror = json!({"kubernetes.io/config.mirror": "x"});
        let on = || json!({"name": "shop", "labels": inject("enabled")});
        let (off, silent) = (json!({"name": "shop", "labels": inject("disabled")}), json!({"name": "shop"}));
        for (pod, namespace, want) in [
            (
                json!({"metadata": {"annotations": mirror, "labels": inject("x")}}),
                on(),
                Verdict::Leave(Reason::MirrorPod),
            ),
            (
                json!({"metadata": {"labels": inject("x")}, "spec": {"os": {"name": "windows"}}}),
                json!({"name": "kube-system"}),
                Verdict::Leave(Reason::SystemNamespace),
            ),
            (
                json!({"spec": {"os": {"name": "windows"}, "hostNetwork": true}}),
                on(),
                Verdict::Leave(Reason::WindowsPod),
            ),
            (
                json!({"metadata": {"labels": inject("x")}, "spec": {"hostNetwork": true}}),
                on(),
                Verdict::Leave(Reason::HostNetwork),
            ),
            (
                json!({"metadata": {"labels": inject("disabled")}, "spec": ours}),
                on(),
                Verdict::Leave(Reason::PodDisabled),
            ),
            (json!({"metadata": {"annotations": inject("disabled")}}), on(), Verdict::Leave(Reason::PodDisabled)),
            (
                json!({"metadata": {"annotations": inject("disabled"), "labels": inject("enabled")}}),
                silent.clone(),
                Verdict::Inject(Reason::PodEnabled),
            ),
            (json!({"spec": foreign}), on(), Verdict::Leave(Reason::ForeignSidecar)),
            (json!({"spec": ours}), off.clone(), Verdict::Replan),
            (json!({"metadata": {"labels": inject("enabled")}}), off.clone(), Verdict::Inject(Reason::PodEnabled)),
            (json!({}), off, Verdict::Leave(Reason::NamespaceDisabled)),
            (json!({}), on(), Verdict::Inject(Reason::NamespaceEnabled)),
            (json!({"metadata": {"annotations": inject("enabled")}}), on(), Verdict::Inject(Reason::NamespaceEnabled)),
            (json!({}), silent, Verdict::Leave(Reason::DefaultPolicy)),
        ] {
            assert_eq!(verdict(pod.clone(), namespace).0, want, "{pod}");
        }
    }

    #[test]
    fn every_wrong_inject_value_is_named_at_once() {
        let pod = json!({"metadata": {"labels": inject("true"), "annotations": inject("no")}});
        let (Verdict::Refuse(Reason::InvalidInjectValue, problems), _) =
            verdict(pod, json!({"name": "shop", "labels": inject("Enabled")}))
        else {
            panic!("not refused")
        };
        assert_eq!(
            problems.to_string(),
            "metadata.labels[outrigger.dev/inject]: 'true' is neither enabled nor disabled; \
             metadata.annotations[outrigger.dev/inject]: 'no' is neither enabled nor disabled; \
             namespace shop: metadata.labels[outrigger.dev/inject]: 'Enabled' is neither enabled nor disabled"
        );
    }

    #[test]
    fn host_network_warns_only_where_injection_was_asked_for() {
        let pod = |label: Value| json!({"metadata": {"labels": label}, "spec": {"hostNetwork": true}});
        let on = json!({"name": "shop", "labels": inject("enabled")});
        for (pod, namespace, warns) in [
            (pod(json!({})), on.clone(), true),
            (pod(inject("enabled")), json!({"name": "shop"}), true),
            (pod(inject("disabled")), on, false),
            (pod(json!({})), json!({"name": "shop"}), false),
        ] {
            assert_eq!(!verdict(pod.clone(), namespace).1.is_empty(), warns, "{pod}");
        }
    }

    #[test]
    fn opting_in_by_annotation_says_that_it_needs_the_label() {
        let pod = json!({"metadata": {"annotations": inject("enabled")}});
        let (verdict, warnings) = verdict(pod, json!({"name": "shop"}));
        assert_eq!(verdict, Verdict::Leave(Reason::DefaultPolicy));
        assert_eq!(warnings, ["outrigger.dev/inject: enabled as an annotation has no effect: write it as a label"]);
    }
}
