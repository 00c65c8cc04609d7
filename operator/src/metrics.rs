//! The operator's metrics. Label values come from enums, but for namespaces, whose number is bounded by the cluster.

use crate::index::Index;
use crate::status::ConditionType;
use crate::watch::Source;
use mesh_kube::events::Events;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Handles for those who count, and the registry for those who read.
#[derive(Clone, Debug)]
pub struct Metrics {
    policies: Family<Condition, Gauge>,
    compile: Histogram,
    documents: Family<Labelled, Counter>,
    statuses: Family<Labelled, Counter>,
    bytes: Family<Namespace, Gauge>,
    leader: Gauge,
    watch_errors: Family<Watched, Counter>,
    mesh_valid: Gauge,
    registry: Arc<Registry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Condition {
    condition: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labelled {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Namespace {
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watched {
    resource: &'static str,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Written,
    Deleted,
    Failed,
    TooLarge,
    Invalid,
}

impl Written {
    const fn as_str(self) -> &'static str {
        match self {
            Written::Written => "written",
            Written::Deleted => "deleted",
            Written::Failed => "failed",
            Written::TooLarge => "too_large",
            Written::Invalid => "invalid",
        }
    }
}

impl Metrics {
    pub fn new(events: Option<Events>) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics {
            policies: Family::default(),
            compile: Histogram::new([0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0]),
            documents: Family::default(),
            statuses: Family::default(),
            bytes: Family::default(),
            leader: Gauge::default(),
            watch_errors: Family::default(),
            mesh_valid: Gauge::default(),
            registry: Arc::default(),
        };
        registry.register(
            "outrigger_policies",
            "MeshPolicies by condition and its status, as the API shows them",
            metrics.policies.clone(),
        );
        registry.register(
            "outrigger_compile_duration_seconds",
            "One namespace's document, from the objects to checked bytes",
            metrics.compile.clone(),
        );
        registry.register(
            "outrigger_documents",
            "Documents by what became of them (written, deleted, failed, too_large, invalid)",
            metrics.documents.clone(),
        );
        registry.register(
            "outrigger_policy_statuses",
            "Statuses of MeshPolicies by what became of them (written, failed)",
            metrics.statuses.clone(),
        );
        registry.register(
            "outrigger_document_bytes",
            "The size of a namespace's document as it should stand; more than 921600 is not written",
            metrics.bytes.clone(),
        );
        registry.register("outrigger_leader", "1 in the replica that writes, 0 in the others", metrics.leader.clone());
        registry.register(
            "outrigger_watch_errors",
            "Watches that failed and were begun again, by resource",
            metrics.watch_errors.clone(),
        );
        registry.register(
            "outrigger_mesh_config_valid",
            "1 if mesh.yaml as it stands is in force, 0 if it is bad and an older one is kept, or none",
            metrics.mesh_valid.clone(),
        );
        registry.register_collector(Box::new(Elsewhere { events }));
        Metrics { registry: Arc::new(registry), ..metrics }
    }

    /// Counts the policies anew.
    pub fn policies(&self, index: &Index) {
        for condition in ConditionType::ALL.map(ConditionType::as_str) {
            for status in ["True", "False", "Unknown"] {
                let shown = index.policies().flat_map(|policy| &policy.status).flat_map(|status| &status.conditions);
                let count = shown.filter(|shown| shown.type_ == condition && shown.status == status).count();
                let gauge = self.policies.get_or_create(&Condition { condition, status });
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }

    pub fn compiled(&self, namespace: &str, took: Duration, bytes: usize) {
        self.compile.observe(took.as_secs_f64());
        let gauge = self.bytes.get_or_create_owned(&Namespace { namespace: namespace.to_owned() });
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The namespace has no document any more.
    pub fn forget(&self, namespace: &str) {
        self.bytes.remove(&Namespace { namespace: namespace.to_owned() });
    }

    pub fn document(&self, written: Written) {
        self.documents.get_or_create(&Labelled { result: written.as_str() }).inc();
    }

    pub fn status(&self, written: Written) {
        self.statuses.get_or_create(&Labelled { result: written.as_str() }).inc();
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    pub fn watch_failed(&self, source: Source) {
        self.watch_errors.get_or_create(&Watched { resource: source.as_str() }).inc();
    }

    pub fn mesh_valid(&self, valid: bool) {
        self.mesh_valid.set(valid.into());
    }

    /// OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        // writing to a String can't fail
        let _ = prometheus_client::encoding::text::encode(&mut page, &self.registry);
        page
    }
}

/// What others count.
#[derive(Debug)]
struct Elsewhere {
    events: Option<Events>,
}

impl Collector for Elsewhere {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let dropped = self.events.as_ref().map_or(0, Events::dropped);
        for (name, help, count) in [
            ("outrigger_panics", "Panics, each of which ended one request", mesh_runtime::panic::panics()),
            ("outrigger_events_dropped", "Kubernetes Events that nobody will see", dropped),
        ] {
            let counter = ConstCounter::new(count);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn what_was_counted_is_on_the_page() {
        let metrics = Metrics::new(None);
        let index = testing::index(
            "{kind: MeshPolicy, metadata: {namespace: shop, name: a}, spec: {}, status: {conditions: [{type: Accepted, status: 'False', reason: Invalid, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}]}}",
        );
        metrics.policies(&index);
        metrics.compiled("shop", Duration::from_millis(2), 1234);
        metrics.compiled("gone", Duration::from_millis(2), 1);
        metrics.forget("gone");
        metrics.document(Written::TooLarge);
        metrics.status(Written::Written);
        metrics.leads(true);
        metrics.watch_failed(Source::Policies);
        let page = metrics.encode();
        for line in [
            "outrigger_policies{condition=\"Accepted\",status=\"False\"} 1",
            "outrigger_policies{condition=\"Accepted\",status=\"True\"} 0",
            "outrigger_compile_duration_seconds_count 2",
            "outrigger_document_bytes{namespace=\"shop\"} 1234",
            "outrigger_documents_total{result=\"too_large\"} 1",
            "outrigger_policy_statuses_total{result=\"written\"} 1",
            "outrigger_leader 1",
            "outrigger_watch_errors_total{resource=\"meshpolicies\"} 1",
            "outrigger_mesh_config_valid 0",
            "outrigger_events_dropped_total 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(!page.contains("gone"));
    }
}
