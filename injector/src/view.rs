//! What decisions are made on: the few fields of a Pod and its namespace that the injector reads.
//!
//! Deliberately not the whole types of Kubernetes: a field that isn't here survives, because the patch is made against
//! the raw JSON. Numbers are wider than the API allows, since the API server validates only after admission: a bad port
//! must be its error, not ours.

use mesh_config::{ContainerPort, names};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// Labels or annotations.
pub type Map = BTreeMap<String, String>;

/// A namespace, as far as injection cares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NamespaceView {
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub labels: Map,
    #[serde(deserialize_with = "or_default")]
    pub annotations: Map,
}

impl NamespaceView {
    /// One without labels and annotations.
    pub fn named(name: impl Into<String>) -> Self {
        NamespaceView { name: name.into(), ..Default::default() }
    }

    /// Reads a whole manifest of a Namespace.
    pub fn from_manifest(namespace: &Value) -> Result<Self, serde_json::Error> {
        namespace.get("metadata").map_or_else(|| Ok(NamespaceView::default()), NamespaceView::deserialize)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    #[serde(deserialize_with = "or_default")]
    pub metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    pub spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Metadata {
    #[serde(deserialize_with = "or_default")]
    pub labels: Map,
    #[serde(deserialize_with = "or_default")]
    pub annotations: Map,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    #[serde(deserialize_with = "or_default")]
    pub host_network: bool,
    pub os: Option<Os>,
    #[serde(deserialize_with = "or_default")]
    pub node_selector: Map,
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub volumes: Vec<Volume>,
    #[serde(deserialize_with = "or_default")]
    pub security_context: SecurityContext,
    /// Of the Pod as a whole (Kubernetes 1.34, "Pod-level resources").
    #[serde(deserialize_with = "or_default")]
    pub resources: Requirements,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Os {
    pub name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Volume {
    pub name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SecurityContext {
    pub run_as_user: Option<i64>,
    pub app_armor_profile: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Container {
    pub name: String,
    pub restart_policy: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<Port>,
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<EnvVar>,
    #[serde(deserialize_with = "or_default")]
    pub security_context: SecurityContext,
    #[serde(deserialize_with = "or_default")]
    pub resources: Requirements,
    pub startup_probe: Option<Value>,
    pub readiness_probe: Option<Value>,
    pub liveness_probe: Option<Value>,
    #[serde(deserialize_with = "or_default")]
    pub lifecycle: Lifecycle,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Port {
    pub name: Option<String>,
    pub container_port: i64,
    pub protocol: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EnvVar {
    pub name: String,
    pub value: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Lifecycle {
    pub post_start: Option<Value>,
    pub pre_stop: Option<Value>,
}

/// Quantities stay raw: a manifest may write `cpu: 1` as a number.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Requirements {
    #[serde(deserialize_with = "or_default")]
    pub requests: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    pub limits: BTreeMap<String, Value>,
}

/// The two lists of containers, as fields of a Pod's `spec`.
pub(crate) const CONTAINERS: &str = "containers";
pub(crate) const INIT_CONTAINERS: &str = "initContainers";

/// A container and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    pub list: &'static str,
    pub index: usize,
    pub container: &'a Container,
}

impl Placed<'_> {
    /// As messages name it.
    pub fn path(&self) -> String {
        format!("spec.{}[{}]", self.list, self.container.name)
    }
}

fn placed<'a>(list: &'static str, containers: &'a [Container]) -> impl Iterator<Item = Placed<'a>> {
    containers.iter().enumerate().map(move |(index, container)| Placed { list, index, container })
}

impl Container {
    /// Started before the others and kept running (an init container with `restartPolicy: Always`).
    pub fn is_native_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

impl Spec {
    /// Every container with the name of its list and its place there; init containers first, as they start first.
    pub fn all_containers(&self) -> impl Iterator<Item = Placed<'_>> {
        placed(INIT_CONTAINERS, &self.init_containers).chain(placed(CONTAINERS, &self.containers))
    }

    /// The containers that run as long as the Pod does, in the order in which Kubernetes looks up a named port
    /// (`FindPort` of its `pkg/api/v1/pod`): ordinary ones, then sidecars.
    pub fn lasting_containers(&self) -> impl Iterator<Item = Placed<'_>> {
        let sidecars = placed(INIT_CONTAINERS, &self.init_containers).filter(|at| at.container.is_native_sidecar());
        placed(CONTAINERS, &self.containers).chain(sidecars)
    }

    /// Every valid port of the containers that last.
    pub fn ports(&self) -> Vec<ContainerPort> {
        let ports = self.lasting_containers().flat_map(|at| {
            at.container.ports.iter().filter_map(|port| {
                Some(ContainerPort {
                    container: at.container.name.clone(),
                    name: port.name.clone().filter(|name| !name.is_empty()),
                    port: u16::try_from(port.container_port).ok().filter(|port| *port > 0)?,
                    // the API server fills in TCP: with and without it must give the same settings
                    protocol: port.protocol.clone().filter(|protocol| protocol != "TCP" && !protocol.is_empty()),
                })
            })
        });
        ports.collect()
    }
}

impl Pod {
    pub fn is_mirror(&self) -> bool {
        self.metadata.annotations.contains_key("kubernetes.io/config.mirror")
    }

    pub fn is_windows(&self) -> bool {
        let os = self.spec.os.as_ref().map(|os| os.name.as_str());
        os.or_else(|| self.spec.node_selector.get("kubernetes.io/os").map(String::as_str)) == Some("windows")
    }

    pub fn inject_label(&self) -> Option<&str> {
        self.metadata.labels.get(names::LABEL_INJECT).map(String::as_str)
    }

    pub fn inject_annotation(&self) -> Option<&str> {
        self.metadata.annotations.get(names::LABEL_INJECT).map(String::as_str)
    }
}

/// `null` is the same as a field that isn't there, as everywhere in Kubernetes.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nulls_and_missing_fields_are_the_same() {
        let pod = json!({"metadata": {"labels": null}, "spec": {"containers": null, "hostNetwork": null, "os": null,
            "initContainers": [{"name": "a", "lifecycle": null, "ports": null, "resources": {"limits": null}}]}});
        let pod = Pod::deserialize(&pod).unwrap();
        assert_eq!((pod.spec.containers.len(), pod.spec.init_containers.len()), (0, 1));
        assert!(!pod.is_windows() && !pod.is_mirror());
    }

    #[test]
    fn ports_are_those_of_lasting_containers_in_kubernetes_order() {
        let pod = json!({"spec": {
            "initContainers": [
                {"name": "once", "ports": [{"containerPort": 1}]},
                {"name": "side", "restartPolicy": "Always", "ports": [{"containerPort": 2, "protocol": "UDP"}]}],
            "containers": [{"name": "web", "ports": [
                {"name": "http", "containerPort": 80, "protocol": "TCP"}, {"containerPort": 70000}, {"containerPort": 0}]}],
        }});
        let port = |container: &str, name: Option<&str>, port, protocol: Option<&str>| ContainerPort {
            container: container.into(),
            name: name.map(Into::into),
            port,
            protocol: protocol.map(Into::into),
        };
        assert_eq!(
            Pod::deserialize(&pod).unwrap().spec.ports(),
            [port("web", Some("http"), 80, None), port("side", None, 2, Some("UDP"))]
        );
    }

    #[test]
    fn windows_is_said_by_the_os_field_or_else_by_the_node_selector() {
        let windows = |spec: Value| Pod::deserialize(&json!({ "spec": spec })).unwrap().is_windows();
        assert!(windows(json!({"os": {"name": "windows"}})));
        assert!(windows(json!({"nodeSelector": {"kubernetes.io/os": "windows"}})));
        assert!(!windows(json!({"os": {"name": "linux"}, "nodeSelector": {"kubernetes.io/os": "windows"}})));
        assert!(!windows(json!({})));
    }
}
