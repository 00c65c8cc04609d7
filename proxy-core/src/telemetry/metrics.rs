//! Every metric: one table gives names, labels and meanings, and registration and `docs/metrics.md` come from it.
//!
//! Labels are bounded: by the document (services, routes, clusters, rules), by the Pod (ports) or by an enum. Nothing
//! that a caller sends becomes a label. Names follow Prometheus' conventions, labels OpenTelemetry's where it has the
//! notion (`server_port`, `network_protocol_version`, `http_response_status_code`, `rpc_system`…).

mod table;
#[cfg(test)]
mod tests;

pub(super) use table::{DURATION, Label, LabelSet, REQUESTS};
pub use table::{Row, TABLE};

use super::exchange::Mode;
use super::requests::{self, PerWorker, Timing};
use super::{Detected, Direction, Scope};
use crate::error::Error;
use crate::policy::authz::Decider;
use mesh_config::proxy::Verdict;
use prometheus_client::encoding::text;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use table::{
    ACTIVE, AUTHORIZATION, BUILD_INFO, CLOSED, CONFIG_GENERATION, CONFIG_INFO, CONFIG_LAST_SUCCESS, CONFIG_UNKNOWN,
    DETECTIONS, DROPPED_LINES, DRY_RUN_ROUTES, OPAQUE_BYTES, OPENED, PANICS, RELOADS, REQUEST_BYTES, RESPONSE_BYTES,
    RETRIES,
};

/// The labels that say which port of whom.
#[derive(Clone, Debug)]
pub(super) struct PortLabels(pub(super) [Label; 3]);

impl PortLabels {
    pub(super) fn new(scope: &Scope) -> PortLabels {
        let port = scope.port.map_or(Label::Text("other"), Label::Number);
        PortLabels([scope.direction.as_str().into(), (&scope.service).into(), port])
    }

    fn and(&self, last: &'static str) -> [Label; 4] {
        let [direction, service, port] = self.0.clone();
        [direction, service, port, last.into()]
    }
}

/// What came of reading a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reload {
    Applied,
    /// It was bad: the last good one stays.
    Refused,
}

/// Everything measured, and the registry for `/metrics`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(super) requests: Arc<PerWorker<10, AtomicU64>>,
    pub(super) timings: Arc<PerWorker<6, Timing>>,
    opened: Family<LabelSet<3>, Counter>,
    active: Family<LabelSet<3>, Gauge>,
    closed: Family<LabelSet<4>, Counter>,
    opaque_bytes: Family<LabelSet<4>, Counter>,
    detections: Family<LabelSet<2>, Counter>,
    authorization: Family<LabelSet<3>, Counter>,
    retries: Family<LabelSet<4>, Counter>,
    dry_run_routes: Family<LabelSet<3>, Counter>,
    reloads: Family<LabelSet<1>, Counter>,
    config_info: Family<LabelSet<1>, Gauge>,
    config_generation: Gauge,
    config_last_success: Gauge,
    config_unknown: Gauge,
    dropped_lines: Counter,
    panics: Counter,
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let build_info = Family::<LabelSet<1>, Gauge>::default();
        build_info.get_or_create(&BUILD_INFO.with([mesh_config::names::VERSION.into()])).set(1);
        let mut metrics = Metrics {
            registry: Registry::default(),
            requests: Arc::default(),
            timings: Arc::default(),
            opened: Family::default(),
            active: Family::default(),
            closed: Family::default(),
            opaque_bytes: Family::default(),
            detections: Family::default(),
            authorization: Family::default(),
            retries: Family::default(),
            dry_run_routes: Family::default(),
            reloads: Family::default(),
            config_info: Family::default(),
            config_generation: Gauge::default(),
            config_last_success: Gauge::default(),
            config_unknown: Gauge::default(),
            dropped_lines: Counter::default(),
            panics: Counter::default(),
        };
        let mut registry = Registry::default();
        REQUESTS.register(&mut registry, requests::Requests(Arc::clone(&metrics.requests)));
        DURATION.register(&mut registry, requests::Durations(Arc::clone(&metrics.timings)));
        REQUEST_BYTES.register(&mut registry, requests::Bytes::received(&metrics.timings));
        RESPONSE_BYTES.register(&mut registry, requests::Bytes::sent(&metrics.timings));
        OPENED.register(&mut registry, metrics.opened.clone());
        ACTIVE.register(&mut registry, metrics.active.clone());
        CLOSED.register(&mut registry, metrics.closed.clone());
        OPAQUE_BYTES.register(&mut registry, metrics.opaque_bytes.clone());
        DETECTIONS.register(&mut registry, metrics.detections.clone());
        AUTHORIZATION.register(&mut registry, metrics.authorization.clone());
        RETRIES.register(&mut registry, metrics.retries.clone());
        DRY_RUN_ROUTES.register(&mut registry, metrics.dry_run_routes.clone());
        RELOADS.register(&mut registry, metrics.reloads.clone());
        CONFIG_INFO.register(&mut registry, metrics.config_info.clone());
        CONFIG_GENERATION.register(&mut registry, metrics.config_generation.clone());
        CONFIG_LAST_SUCCESS.register(&mut registry, metrics.config_last_success.clone());
        CONFIG_UNKNOWN.register(&mut registry, metrics.config_unknown.clone());
        DROPPED_LINES.register(&mut registry, metrics.dropped_lines.clone());
        PANICS.register(&mut registry, metrics.panics.clone());
        BUILD_INFO.register(&mut registry, build_info);
        metrics.registry = registry;
        metrics
    }

    /// The page for a scrape, in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        // writing to a String can't fail, and our own metrics don't either
        let _ = text::encode(&mut page, &self.registry);
        page
    }

    /// A document was read.
    pub fn reloaded(&self, result: Reload) {
        let result = match result {
            Reload::Applied => "applied",
            Reload::Refused => "refused",
        };
        self.reloads.get_or_create(&RELOADS.with([result.into()])).inc();
    }

    /// A configuration is in force from now on. `unix_time` in seconds.
    pub fn config_in_force(&self, hash: &Arc<str>, generation: u64, unknown_fields: usize, unix_time: u64) {
        self.config_info.clear();
        self.config_info.get_or_create(&CONFIG_INFO.with([hash.into()])).set(1);
        // far below 2^63, all three
        self.config_generation.set(generation as i64);
        self.config_unknown.set(unknown_fields as i64);
        self.config_last_success.set(unix_time as i64);
    }

    /// How many panics the process has counted.
    pub fn set_panics(&self, total: u64) {
        self.panics.inner().fetch_max(total, Ordering::Relaxed);
    }

    pub(super) fn dropped_lines(&self) -> Counter {
        self.dropped_lines.clone()
    }

    pub(super) fn opened(&self, port: &PortLabels) -> Active {
        self.opened.get_or_create(&OPENED.with(port.0.clone())).inc();
        let active = self.active.get_or_create_owned(&ACTIVE.with(port.0.clone()));
        active.inc();
        Active(active)
    }

    /// The counters of an opaque connection's bytes: received, sent.
    pub(super) fn opaque_bytes(&self, port: &PortLabels) -> (Counter, Counter) {
        let of = |flow| self.opaque_bytes.get_or_create_owned(&OPAQUE_BYTES.with(port.and(flow)));
        (of("received"), of("sent"))
    }

    pub(super) fn opaque_closed(&self, port: &PortLabels, flag: &'static str) {
        self.closed.get_or_create(&CLOSED.with(port.and(flag))).inc();
    }

    pub(super) fn detected(&self, direction: Direction, how: Detected) {
        let labels = [direction.as_str().into(), how.as_str().into()];
        self.detections.get_or_create(&DETECTIONS.with(labels)).inc();
    }

    /// The counter stays with the rule: the second time costs no lookup.
    pub(super) fn decided(&self, decider: &Decider, mode: Mode) {
        let counter = decider.counter.get_or_init(|| {
            let decision = match decider.decision {
                Verdict::Allow => "allow",
                Verdict::Deny => "deny",
            };
            let labels = [decision.into(), (&decider.name).into(), mode.as_str().into()];
            self.authorization.get_or_create_owned(&AUTHORIZATION.with(labels))
        });
        counter.inc();
    }

    pub(super) fn retried(&self, port: &PortLabels, because: Error) {
        self.retries.get_or_create(&RETRIES.with(port.and(because.flag()))).inc();
    }

    pub(super) fn dry_run_route(&self, port: &PortLabels, same: bool) {
        let [_, service, port] = port.0.clone();
        let result = if same { "same" } else { "different" };
        self.dry_run_routes.get_or_create(&DRY_RUN_ROUTES.with([service, port, result.into()])).inc();
    }
}

/// Holds a gauge up by one.
#[derive(Debug)]
pub(super) struct Active(Gauge);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}
