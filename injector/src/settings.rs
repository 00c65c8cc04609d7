//! mesh.yaml, then the namespace's annotations, then the Pod's: the later wins, key by key.

use crate::annotations::{self, Draft, KEYS, Scope};
use crate::quantity::Quantity;
use crate::view::{NamespaceView, Pod};
use mesh_config::mesh::Resources;
use mesh_config::{Mesh, Problems, Settings};

/// What holds for one Pod. Its `settings` have no probes yet: those are the plan's.
#[derive(Debug)]
pub(crate) struct Merged {
    pub settings: Settings,
    /// Of `outrigger-proxy`.
    pub resources: Resources,
}

/// Merges all three, collecting every bad value; unknown keys of ours become warnings.
pub(crate) fn merge(
    mesh: &Mesh,
    namespace: &NamespaceView,
    pod: &Pod,
    problems: &mut Problems,
    warnings: &mut Vec<String>,
) -> Merged {
    let ports = pod.spec.ports();
    let mut draft =
        Draft { capture: mesh_config::Capture::default(), resources: mesh.proxy.resources.clone(), ports: &ports };
    for (scope, at, given) in [
        (Scope::Namespace, format!("namespace {}: ", namespace.name), &namespace.annotations),
        (Scope::Pod, String::new(), &pod.metadata.annotations),
    ] {
        for key in &KEYS {
            let annotation = key.annotation();
            let Some(value) = given.get(&annotation) else { continue };
            if let Err(wrong) = key.apply(value, scope, &mut draft) {
                problems.add(format!("{at}metadata.annotations[{annotation}]"), wrong);
            }
        }
        warnings
            .extend(given.keys().filter_map(|annotation| annotations::unknown(annotation)).map(|w| format!("{at}{w}")));
    }
    let Draft { capture, resources, .. } = draft;
    check(&resources, problems);
    Merged { settings: Settings { proxy: mesh.proxy.settings(), capture, ports, probes: Vec::new() }, resources }
}

/// The API server would say it too, but of a container that the user has never heard of.
fn check(resources: &Resources, problems: &mut Problems) {
    for (what, request, limit) in [
        ("cpu", &resources.cpu_request, &resources.cpu_limit),
        ("memory", &resources.memory_request, &resources.memory_limit),
    ] {
        if let (Some(wanted), Some(most)) = (Quantity::parse(request), Quantity::parse(limit))
            && wanted > most
        {
            problems.add(
                format!("metadata.annotations[outrigger.dev/proxy-{what}-request]"),
                format!("the request {request} is more than the limit {limit}; set proxy-{what}-limit as well"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    fn merged(namespace: Value, pod: Value) -> (Merged, Problems, Vec<String>) {
        let (mut problems, mut warnings) = (Problems::default(), Vec::new());
        let namespace = NamespaceView::deserialize(&json!({"name": "shop", "annotations": namespace})).unwrap();
        let pod = json!({"metadata": {"annotations": pod}, "spec": {"containers": [
            {"name": "web", "ports": [{"name": "http", "containerPort": 8080}]}]}});
        let merged =
            merge(&Mesh::default(), &namespace, &Pod::deserialize(&pod).unwrap(), &mut problems, &mut warnings);
        (merged, problems, warnings)
    }

    #[test]
    fn the_pod_wins_over_the_namespace_key_by_key() {
        let (merged, problems, _) = merged(
            json!({"outrigger.dev/exclude-inbound-ports": "http", "outrigger.dev/exclude-outbound-ports": "25",
                "outrigger.dev/proxy-cpu-limit": "2", "outrigger.dev/proxy-cpu-request": "1"}),
            json!({"outrigger.dev/exclude-inbound-ports": "+9090", "outrigger.dev/exclude-outbound-ports": "26",
                "outrigger.dev/proxy-cpu-request": "none"}),
        );
        assert_eq!(problems, Problems::default());
        assert_eq!(merged.settings.capture.exclude_inbound_ports.to_string(), "8080,9090");
        assert_eq!(merged.settings.capture.exclude_outbound_ports.to_string(), "26");
        let Resources { cpu_request, cpu_limit, memory_request, memory_limit } = merged.resources;
        assert_eq!([cpu_request, cpu_limit, memory_request, memory_limit], ["", "2", "128Mi", "512Mi"]);
    }

    #[test]
    fn every_bad_value_is_named_with_where_it_stands() {
        let (_, problems, warnings) = merged(
            json!({"outrigger.dev/exclude-inbound-ports": "0", "outrigger.dev/proxy-cpu-limits": "2"}),
            json!({"outrigger.dev/exclude-outbound-cidrs": "10.0.0.1/8", "outrigger.dev/proxy-cpu-request": "1"}),
        );
        let paths: Vec<_> = problems.0.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "namespace shop: metadata.annotations[outrigger.dev/exclude-inbound-ports]",
                "metadata.annotations[outrigger.dev/exclude-outbound-cidrs]",
                "metadata.annotations[outrigger.dev/proxy-cpu-request]",
            ]
        );
        assert_eq!(problems.0[2].message, "the request 1 is more than the limit 500m; set proxy-cpu-limit as well");
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("namespace shop: annotation"), "{warnings:?}");
    }
}
