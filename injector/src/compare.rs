//! Does what stands in a Pod equal what is planned? In order and content, except for what the API server (and its
//! LimitRanger) fills in by itself, and for the order of volumes, which means nothing.

use crate::quantity::Quantity;
use mesh_config::names;
use serde_json::{Map, Value, json};

/// Where the LimitRanger admission plugin says what it set.
const LIMIT_RANGER: &str = "kubernetes.io/limit-ranger";

/// Both are whole Pods: the same one, before and after our parts were taken out and planned anew.
pub(crate) fn settled(standing: &Value, planned: &Value) -> bool {
    let (mut standing, mut planned) = (standing.clone(), planned.clone());
    for pod in [&mut standing, &mut planned] {
        if let Some(Value::Array(volumes)) = pod.pointer_mut("/spec/volumes") {
            volumes.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
        }
    }
    let ranged = standing["metadata"]["annotations"][LIMIT_RANGER].as_str().unwrap_or_default().to_owned();
    if let (Some(Value::Array(standing)), Some(Value::Array(planned))) =
        (standing.pointer_mut("/spec/initContainers"), planned.pointer("/spec/initContainers"))
    {
        for (standing, planned) in standing.iter_mut().zip(planned) {
            forget_filled_resources(standing, planned, &ranged);
        }
    }
    same(&standing, &planned, "")
}

/// A container without a limit gets the namespace's from LimitRanger, one without a request gets the limit's value.
fn forget_filled_resources(standing: &mut Value, planned: &Value, ranged: &str) {
    let name = standing["name"].as_str().unwrap_or_default();
    if ![names::CONTAINER_INIT, names::CONTAINER_PROXY].contains(&name) {
        return;
    }
    let ranged = ranged.contains(&format!("container {name}"));
    let limits = standing["resources"]["limits"].clone();
    for kind in ["requests", "limits"] {
        let Some(Value::Object(filled)) = standing.pointer_mut(&format!("/resources/{kind}")) else { continue };
        filled.retain(|resource, value| {
            let from_limit = kind == "requests" && same_quantity(value, &limits[resource]);
            !planned["resources"][kind][resource].is_null() || !(ranged || from_limit)
        });
    }
}

/// `key` is the field that both stand in.
fn same(standing: &Value, planned: &Value, key: &str) -> bool {
    match (standing, planned) {
        (Value::Object(standing), Value::Object(planned)) => same_object(standing, planned, key),
        (Value::Array(standing), Value::Array(planned)) => {
            standing.len() == planned.len() && standing.iter().zip(planned).all(|(s, p)| same(s, p, key))
        }
        _ => standing == planned,
    }
}

fn same_object(standing: &Map<String, Value>, planned: &Map<String, Value>, key: &str) -> bool {
    let quantities = ["requests", "limits"].contains(&key);
    let planned_is_there = planned.iter().all(|(key, planned)| match standing.get(key) {
        Some(standing) if quantities || key == "sizeLimit" => same_quantity(standing, planned),
        Some(standing) => same(standing, planned, key),
        // the API server leaves out an environment variable's empty value
        None => key == "value" && planned == "",
    });
    planned_is_there && standing.iter().all(|(key, value)| planned.contains_key(key) || is_filled_in(key, value))
}

fn same_quantity(one: &Value, other: &Value) -> bool {
    match (Quantity::of(one), Quantity::of(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// What the API server writes where a Pod says nothing (Kubernetes' `pkg/apis/core/v1/defaults.go`), as far as our
/// parts leave it unsaid.
fn is_filled_in(key: &str, value: &Value) -> bool {
    let default = match key {
        "terminationMessagePath" => json!("/dev/termination-log"),
        "terminationMessagePolicy" => json!("File"),
        "timeoutSeconds" | "successThreshold" => json!(1),
        "failureThreshold" => json!(3),
        "periodSeconds" => json!(10),
        "scheme" => json!("HTTP"),
        "apiVersion" => json!("v1"),
        "defaultMode" => json!(0o644),
        // 1.27 to 1.35, with in-place resizing
        "resizePolicy" => {
            let policies = value.as_array().into_iter().flatten();
            return policies.into_iter().all(|policy| policy["restartPolicy"] == "NotRequired");
        }
        _ => Value::Null,
    };
    *value == default || value.is_null() || *value == json!({}) || *value == json!([])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: Value, annotations: Value) -> Value {
        json!({"metadata": {"annotations": annotations},
            "spec": {"initContainers": [{"name": "outrigger-proxy", "resources": resources}]}})
    }

    #[test]
    fn quantities_are_compared_by_value() {
        let planned = pod(json!({"limits": {"cpu": "0.5", "memory": "1024Mi"}}), json!({}));
        assert!(settled(&pod(json!({"limits": {"cpu": "500m", "memory": "1Gi"}}), json!({})), &planned));
        assert!(!settled(&pod(json!({"limits": {"cpu": "501m", "memory": "1Gi"}}), json!({})), &planned));
    }

    #[test]
    fn a_limit_that_nobody_planned_is_settled_only_if_limit_ranger_says_it_was_its_own() {
        let standing = |annotation: &str| {
            pod(
                json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1", "memory": "1Mi"}}),
                json!({LIMIT_RANGER: annotation}),
            )
        };
        let planned = |annotation: &str| pod(json!({"requests": {"memory": "1Mi"}}), json!({LIMIT_RANGER: annotation}));
        let theirs = "LimitRanger plugin set: cpu limit for init container outrigger-proxy";
        assert!(settled(&standing(theirs), &planned(theirs)));
        let others = "LimitRanger plugin set: cpu limit for container web";
        assert!(!settled(&standing(others), &planned(others)));
    }

    #[test]
    fn a_request_that_is_its_limit_came_from_the_api_server() {
        let planned = pod(json!({"limits": {"cpu": "1"}}), json!({}));
        assert!(settled(&pod(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}), json!({})), &planned));
        assert!(!settled(&pod(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}), json!({})), &planned));
    }

    #[test]
    fn order_matters_for_containers_and_variables_and_not_for_volumes() {
        let spec = |key: &str, names: [&str; 2]| json!({"spec": {key: names.map(|name| json!({"name": name}))}});
        assert!(settled(&spec("volumes", ["a", "b"]), &spec("volumes", ["b", "a"])));
        assert!(!settled(&spec("initContainers", ["a", "b"]), &spec("initContainers", ["b", "a"])));
    }

    #[test]
    fn a_field_that_somebody_else_added_or_took_away_is_a_difference() {
        let planned =
            json!({"spec": {"initContainers": [{"name": "outrigger-proxy", "securityContext": {"a": false}}]}});
        for standing in [
            json!({"spec": {"initContainers": [{"name": "outrigger-proxy", "securityContext": {}}]}}),
            json!({"spec": {"initContainers": [{"name": "outrigger-proxy", "securityContext": {"a": false}, "args": ["x"]}]}}),
            json!({"spec": {"initContainers": [{"name": "outrigger-proxy", "securityContext": {"a": false}, "terminationMessagePolicy": "X"}]}}),
        ] {
            assert!(!settled(&standing, &planned), "{standing}");
        }
    }
}
