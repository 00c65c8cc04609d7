//! Requests and limits of our containers, and the Pod's QoS class, which they must not lower from Guaranteed.

use crate::quantity::Quantity;
use crate::view::{Requirements, Spec};
use mesh_config::mesh::Resources;
use serde_json::{Map, Value, json};

/// What counts for the QoS class.
const COUNTED: [&str; 2] = ["cpu", "memory"];

/// What the Pod's own resources mean for ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Requests must be the limits.
    guaranteed: bool,
    /// Which of [`COUNTED`] the Pod sets as a whole (Kubernetes 1.34, "Pod-level resources"). Ours are left out there:
    /// in sum, containers may not request more than their Pod, and all of them may use what is its.
    of_pod: [bool; 2],
}

impl Budget {
    pub fn of(spec: &Spec) -> Self {
        let Requirements { requests, limits } = &spec.resources;
        let of_pod = COUNTED.map(|name| requests.contains_key(name) || limits.contains_key(name));
        Budget { guaranteed: of_pod == [false; 2] && is_guaranteed(spec), of_pod }
    }

    /// Requests and limits as containers write them.
    pub fn requirements(self, resources: &Resources) -> Value {
        let mut requirements = Map::new();
        let mut put = |kind: &str, name: &str, quantity: &str| {
            if !quantity.is_empty() {
                let kind = requirements.entry(kind).or_insert_with(|| json!({}));
                kind[name] = quantity.into();
            }
        };
        for ((name, request, limit), _) in fields(resources).into_iter().zip(self.of_pod).filter(|(_, of_pod)| !of_pod)
        {
            put("limits", name, limit);
            put("requests", name, if self.guaranteed && !limit.is_empty() { limit } else { request });
        }
        requirements.into()
    }

    /// What the Pod's author may not expect.
    pub fn warning(self, container: &str, resources: &Resources) -> Option<String> {
        if self.of_pod != [false; 2] {
            return Some(format!("{container} has no requests and limits where the Pod sets them as a whole"));
        }
        let missing: Vec<_> =
            fields(resources).into_iter().filter(|(.., limit)| limit.is_empty()).map(|f| f.0).collect();
        (self.guaranteed && !missing.is_empty()).then(|| {
            format!("the Pod loses its QoS class Guaranteed: {container} has no limit for {}", missing.join(" and "))
        })
    }
}

/// Every container, init containers included, has limits for cpu and memory, and requests that equal them or are
/// unsaid (Kubernetes docs, "Pod Quality of Service Classes").
fn is_guaranteed(spec: &Spec) -> bool {
    spec.all_containers().all(|at| {
        let Requirements { requests, limits } = &at.container.resources;
        COUNTED.iter().all(|name| {
            let limit = limits.get(*name).and_then(Quantity::of).filter(|limit| !limit.is_zero());
            let request = requests.get(*name).and_then(Quantity::of);
            limit.is_some() && request.is_none_or(|request| Some(request) == limit)
        })
    })
}

fn fields(resources: &Resources) -> [(&'static str, &str, &str); 2] {
    [
        (COUNTED[0], &resources.cpu_request, &resources.cpu_limit),
        (COUNTED[1], &resources.memory_request, &resources.memory_limit),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_config::Mesh;
    use serde::Deserialize;

    fn guaranteed(spec: Value) -> bool {
        Budget::of(&Spec::deserialize(&spec).unwrap()).guaranteed
    }

    #[test]
    fn guaranteed_needs_limits_everywhere_and_requests_that_equal_them() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
        let limits_only = json!({"limits": {"cpu": 1, "memory": "1Gi"}});
        let lower = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
        let of = |resources: &Value| json!({"name": "c", "resources": resources});
        assert!(guaranteed(json!({"containers": [of(&full), of(&limits_only)], "initContainers": [of(&full)]})));
        for other in [lower, json!({"limits": {"cpu": "1"}}), json!({"limits": {"cpu": "1", "memory": "0"}}), json!({})]
        {
            assert!(!guaranteed(json!({"containers": [of(&full), of(&other)]})), "{other}");
            assert!(!guaranteed(json!({"containers": [of(&full)], "initContainers": [of(&other)]})), "{other}");
        }
        assert!(!guaranteed(json!({"containers": [of(&full)], "resources": full})));
    }

    #[test]
    fn requests_are_raised_to_the_limits_and_unset_fields_stay_unset() {
        let proxy = Mesh::default().proxy.resources;
        let ordinary = Budget { guaranteed: false, of_pod: [false; 2] };
        let guaranteed = Budget { guaranteed: true, ..ordinary };
        assert_eq!(
            ordinary.requirements(&proxy),
            json!({"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}})
        );
        assert_eq!(
            guaranteed.requirements(&proxy),
            json!({"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "500m", "memory": "512Mi"}})
        );
        assert_eq!(guaranteed.warning("outrigger-proxy", &proxy), None);
        let no_cpu_limit = Resources { cpu_limit: String::new(), ..proxy };
        assert_eq!(guaranteed.requirements(&no_cpu_limit)["requests"], json!({"cpu": "100m", "memory": "512Mi"}));
        assert_eq!(
            guaranteed.warning("outrigger-proxy", &no_cpu_limit).unwrap(),
            "the Pod loses its QoS class Guaranteed: outrigger-proxy has no limit for cpu"
        );
        assert_eq!(ordinary.warning("outrigger-proxy", &no_cpu_limit), None);
        assert_eq!(guaranteed.requirements(&Resources::default()), json!({}));
    }

    #[test]
    fn what_the_pod_sets_as_a_whole_is_not_set_for_ours() {
        let budget = |resources: Value| Budget::of(&Spec::deserialize(json!({ "resources": resources })).unwrap());
        let proxy = Mesh::default().proxy.resources;
        let cpu_of_pod = budget(json!({"limits": {"cpu": "200m"}}));
        assert_eq!(
            cpu_of_pod.requirements(&proxy),
            json!({"limits": {"memory": "512Mi"}, "requests": {"memory": "128Mi"}})
        );
        assert!(cpu_of_pod.warning("outrigger-proxy", &proxy).is_some());
        assert_eq!(budget(json!({"requests": {"cpu": "1", "memory": "1Gi"}})).requirements(&proxy), json!({}));
    }
}
