//! What tests share: an index from YAML, as `kubectl apply` would take it.

use crate::index::{Index, Key};
use serde_json::Value;
use std::collections::BTreeMap;

pub const SYSTEM: &str = "outrigger-system";

/// Namespaces, Services, Pods (with any label; only those with a proxy count) and MeshPolicies. A policy gets generation
/// 1 and a uid made of its name where it has none.
pub fn index(yaml: &str) -> Index {
    let mut index = Index::new(SYSTEM);
    for object in objects(yaml) {
        apply(&mut index, &object);
    }
    index.take_dirty();
    index
}

pub fn objects(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

pub fn apply(index: &mut Index, object: &Value) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let labels: BTreeMap<String, String> =
        serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default();
    match object["kind"].as_str().unwrap() {
        "Namespace" => {
            index.apply_namespace(text("name"), &labels, object["metadata"]["deletionTimestamp"].is_string());
        }
        "Service" => index.apply_service(&serde_json::from_value(object.clone()).unwrap()),
        "Pod" if labels.contains_key("outrigger.dev/proxy") => {
            index.apply_pod(&Key::new(text("namespace"), text("name")));
        }
        "Pod" => {}
        "MeshPolicy" => {
            let mut object = object.clone();
            let metadata = object["metadata"].as_object_mut().unwrap();
            let uid = format!("uid-{}", metadata["name"].as_str().unwrap());
            metadata.entry("generation").or_insert(1.into());
            metadata.entry("uid").or_insert(uid.into());
            index.apply_policy(&object);
        }
        other => panic!("no test knows what to do with a {other}"),
    }
}
