//! The injector's metrics. Label values come from enums, never from input.

use crate::{Decision, Outcome, Reason};
use mesh_kube::events::Events;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder,
};
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
    injections: Family<Injection, Counter>,
    failures: Family<Failed, Counter>,
    duration: Histogram,
    mesh_valid: Gauge,
    registry: Arc<Registry>,
}

/// Of a Pod, counted once: a Pod that is sent again is `unchanged` or `reinjected` the second time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Injection {
    reason: Reason,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    cause: Cause,
}

/// Why a call got no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Not a review that we understand.
    Malformed,
    /// The namespace, which the decision needs, couldn't be read.
    Namespace,
    /// `mesh.yaml` isn't read yet.
    NotReady,
    /// A fault of ours.
    Internal,
}

impl Metrics {
    pub fn new(events: Option<Events>) -> Self {
        let mut registry = Registry::default();
        let injections = Family::<Injection, Counter>::default();
        registry.register(
            "outrigger_injection",
            "Decisions about Pods, by reason and outcome (injected, reinjected, unchanged, refused); dry runs left out",
            injections.clone(),
        );
        let failures = Family::<Failed, Counter>::default();
        registry.register("outrigger_injection_failures", "Calls that got no decision, by cause", failures.clone());
        let duration = Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]);
        registry.register(
            "outrigger_injection_duration_seconds",
            "From a whole request to its answer, dry runs included",
            duration.clone(),
        );
        let mesh_valid = Gauge::default();
        registry.register(
            "outrigger_mesh_config_valid",
            "1 if mesh.yaml as it stands is in force, 0 if it is bad and an older one is kept, or none",
            mesh_valid.clone(),
        );
        registry.register_collector(Box::new(Elsewhere { events }));
        Metrics { injections, failures, duration, mesh_valid, registry: Arc::new(registry) }
    }

    pub fn decided(&self, outcome: &Outcome) {
        let label = match (&outcome.decision, outcome.reason) {
            (Decision::Unchanged, _) => "unchanged",
            (Decision::Refused(_), _) => "refused",
            (Decision::Patch(_), Reason::Reinjected) => "reinjected",
            (Decision::Patch(_), _) => "injected",
        };
        self.injections.get_or_create(&Injection { reason: outcome.reason, outcome: label }).inc();
    }

    pub fn failed(&self, cause: Cause) {
        self.failures.get_or_create(&Failed { cause }).inc();
    }

    pub fn took(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
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

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for Cause {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let word = match self {
            Cause::Malformed => "malformed",
            Cause::Namespace => "namespace",
            Cause::NotReady => "not_ready",
            Cause::Internal => "internal",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use json_patch::Patch;

    #[test]
    fn a_pod_that_is_sent_twice_is_injected_once() {
        let metrics = Metrics::new(None);
        let outcome = |reason, decision| Outcome { reason, decision, warnings: vec![] };
        metrics.decided(&outcome(Reason::PodEnabled, Decision::Patch(Patch::default())));
        metrics.decided(&outcome(Reason::Reinjected, Decision::Patch(Patch::default())));
        metrics.failed(Cause::NotReady);
        let page = metrics.encode();
        for line in [
            "outrigger_injection_total{reason=\"PodEnabled\",outcome=\"injected\"} 1",
            "outrigger_injection_total{reason=\"Reinjected\",outcome=\"reinjected\"} 1",
            "outrigger_injection_failures_total{cause=\"not_ready\"} 1",
            "outrigger_events_dropped_total 0",
            "outrigger_mesh_config_valid 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }
}
