//! `mesh.yaml` of the ConfigMap `outrigger-mesh`: the one in force. A bad one never replaces a good one.

use crate::metrics::Metrics;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt as _, watcher::watch_object};
use kube::{Api, Client};
use mesh_config::{Mesh, names};
use mesh_runtime::readiness::Gate;
use mesh_runtime::signals::Shutdown;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::watch;

/// Clones share what is in force.
#[derive(Clone, Debug)]
pub struct MeshSource {
    /// Where the control plane runs: never injected.
    namespace: String,
    in_force: Arc<watch::Sender<Option<Arc<Mesh>>>>,
}

impl MeshSource {
    pub fn new(namespace: impl Into<String>) -> Self {
        MeshSource { namespace: namespace.into(), in_force: Arc::new(watch::Sender::new(None)) }
    }

    /// `None` until the first good one.
    pub fn in_force(&self) -> Option<Arc<Mesh>> {
        self.in_force.borrow().clone()
    }

    /// Watches until shutdown; the gate opens with the first good one.
    pub async fn run(self, client: Client, metrics: Metrics, gate: Gate, shutdown: Shutdown) {
        let api = Api::<ConfigMap>::namespaced(client, &self.namespace);
        let mut found = pin!(watch_object(api, names::CONFIGMAP_MESH).default_backoff());
        loop {
            let found = tokio::select! {
                () = shutdown.requested() => return,
                found = found.next() => found,
            };
            match found {
                Some(Ok(found)) => {
                    let text = found.and_then(|map| map.data?.remove(names::KEY_MESH));
                    self.take(text.as_deref(), &metrics, &gate);
                }
                Some(Err(error)) => tracing::warn!(%error, "watching ConfigMap outrigger-mesh; trying again"),
                None => return,
            }
        }
    }

    /// Puts it in force if it is good. One that is missing means defaults at the start; later it is taken for a
    /// mistake, since the defaults have other images.
    pub fn take(&self, text: Option<&str>, metrics: &Metrics, gate: &Gate) {
        let before = self.in_force();
        if text.is_none() && before.is_some() {
            tracing::error!("ConfigMap outrigger-mesh is gone; what it said last is kept. Apply it again");
            metrics.mesh_valid(false);
            return;
        }
        match Mesh::parse(text.unwrap_or_default()) {
            Ok(mut mesh) => {
                mesh.excluded_namespaces.push(self.namespace.clone());
                if before.as_deref() != Some(&mesh) {
                    tracing::info!(
                        from = if text.is_some() { "outrigger-mesh" } else { "defaults" },
                        "mesh.yaml in force"
                    );
                    self.in_force.send_replace(Some(Arc::new(mesh)));
                }
                metrics.mesh_valid(true);
                gate.open();
            }
            Err(problems) => {
                let kept = before.is_some();
                tracing::error!(%problems, kept, "mesh.yaml of ConfigMap outrigger-mesh is bad");
                metrics.mesh_valid(false);
                if !kept {
                    gate.close(format!("mesh.yaml of ConfigMap outrigger-mesh is bad: {problems}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_runtime::readiness::Readiness;

    struct Stage {
        source: MeshSource,
        readiness: Readiness,
        gate: Gate,
        metrics: Metrics,
    }

    impl Stage {
        fn new() -> Self {
            let readiness = Readiness::new();
            let gate = readiness.gate("mesh.yaml");
            Stage { source: MeshSource::new("mesh"), readiness, gate, metrics: Metrics::new(None) }
        }

        /// The trust domain in force, and whether the metric says that all is well.
        fn take(&self, text: Option<&str>) -> (Option<String>, bool) {
            self.source.take(text, &self.metrics, &self.gate);
            let valid = self.metrics.encode().lines().any(|line| line == "outrigger_mesh_config_valid 1");
            (self.source.in_force().map(|mesh| mesh.trust_domain.clone()), valid)
        }
    }

    #[test]
    fn a_bad_one_never_replaces_a_good_one() {
        let stage = Stage::new();
        assert_eq!(stage.take(Some("trustDomain: one.example")), (Some("one.example".into()), true));
        assert_eq!(stage.take(Some("trustDomain: [")), (Some("one.example".into()), false));
        assert_eq!(stage.take(None), (Some("one.example".into()), false));
        assert!(stage.readiness.is_ready());
        assert_eq!(stage.take(Some("trustDomain: two.example")), (Some("two.example".into()), true));
    }

    #[test]
    fn a_bad_one_at_the_start_is_not_ready_with_the_problems_named() {
        let stage = Stage::new();
        assert_eq!(stage.take(Some("trustDomain: ''")), (None, false));
        let report = stage.readiness.report();
        assert!(report.contains("mesh.yaml of ConfigMap outrigger-mesh is bad: trustDomain: "), "{report}");
        assert_eq!(stage.take(Some("")), (Some("cluster.local".into()), true));
        assert!(stage.readiness.is_ready());
    }

    #[test]
    fn none_at_the_start_means_defaults_and_our_own_namespace_is_excluded() {
        let stage = Stage::new();
        assert_eq!(stage.take(None), (Some("cluster.local".into()), true));
        assert_eq!(stage.source.in_force().unwrap().excluded_namespaces, ["mesh"]);
    }
}
