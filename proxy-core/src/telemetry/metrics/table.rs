//! The table: names, types, labels and meanings.

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use prometheus_client::registry::{Metric, Registry};
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// One metric of the table.
#[derive(Debug)]
pub struct Spec<const N: usize> {
    /// As it is registered: a counter's `_total` is added in the text.
    name: &'static str,
    kind: &'static str,
    labels: [&'static str; N],
    help: &'static str,
}

/// The same for the table as a whole: name as scraped, type, labels, meaning.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

const PORT: [&str; 3] = ["direction", "destination_service", "server_port"];

pub(in crate::telemetry) const REQUESTS: Spec<10> = Spec {
    name: "outrigger_requests",
    kind: "counter",
    labels: [
        "direction",
        "destination_service",
        "server_port",
        "route",
        "cluster",
        "network_protocol_version",
        "rpc_system",
        "http_response_status_code",
        "rpc_grpc_status_code",
        "response_flag",
    ],
    help: "HTTP requests, counted when they end",
};

const TIMING: [&str; 6] = [
    "direction",
    "destination_service",
    "server_port",
    "network_protocol_version",
    "rpc_system",
    "http_response_status_class",
];

pub(in crate::telemetry) const DURATION: Spec<6> = Spec {
    name: "outrigger_request_duration_seconds",
    kind: "histogram",
    labels: TIMING,
    help: "From a request's head to the end of its answer, all tries together",
};
pub(in crate::telemetry) const REQUEST_BYTES: Spec<6> = Spec {
    name: "outrigger_request_body_bytes",
    kind: "counter",
    labels: TIMING,
    help: "Bytes of request bodies, without heads and framing",
};
pub(in crate::telemetry) const RESPONSE_BYTES: Spec<6> = Spec {
    name: "outrigger_response_body_bytes",
    kind: "counter",
    labels: TIMING,
    help: "Bytes of response bodies, without heads and framing",
};
pub(in crate::telemetry) const OPENED: Spec<3> = Spec {
    name: "outrigger_connections_opened",
    kind: "counter",
    labels: PORT,
    help: "Connections accepted from callers, HTTP and opaque",
};
pub(in crate::telemetry) const ACTIVE: Spec<3> = Spec {
    name: "outrigger_connections_active",
    kind: "gauge",
    labels: PORT,
    help: "Connections from callers that are open now",
};
pub(in crate::telemetry) const CLOSED: Spec<4> = Spec {
    name: "outrigger_opaque_connections_closed",
    kind: "counter",
    labels: [PORT[0], PORT[1], PORT[2], "response_flag"],
    help: "Opaque connections that ended, refused ones too, with how",
};
pub(in crate::telemetry) const OPAQUE_BYTES: Spec<4> = Spec {
    name: "outrigger_opaque_bytes",
    kind: "counter",
    labels: [PORT[0], PORT[1], PORT[2], "flow"],
    help: "Bytes of opaque connections while they flow: received from callers, sent to callers",
};
pub(in crate::telemetry) const DETECTIONS: Spec<2> = Spec {
    name: "outrigger_protocol_detections",
    kind: "counter",
    labels: ["direction", "result"],
    help: "How the protocol of connections was found",
};
pub(in crate::telemetry) const AUTHORIZATION: Spec<3> = Spec {
    name: "outrigger_authorization",
    kind: "counter",
    labels: ["decision", "rule", "mode"],
    help: "Calls judged where a policy says something: allow or deny, by which rule, enforce or dry_run",
};
pub(in crate::telemetry) const RETRIES: Spec<4> = Spec {
    name: "outrigger_retries",
    kind: "counter",
    labels: [PORT[0], PORT[1], PORT[2], "response_flag"],
    help: "Requests sent again that were never delivered (or are idempotent), with what ended the try before",
};
pub(in crate::telemetry) const DRY_RUN_ROUTES: Spec<3> = Spec {
    name: "outrigger_dry_run_routes",
    kind: "counter",
    labels: [PORT[1], PORT[2], "result"],
    help: "Requests for which policies of mode DryRun would choose the same route, or a different one",
};
pub(in crate::telemetry) const RELOADS: Spec<1> = Spec {
    name: "outrigger_config_reload",
    kind: "counter",
    labels: ["result"],
    help: "Documents that were read: applied, or refused with the last good one kept",
};
pub(in crate::telemetry) const CONFIG_INFO: Spec<1> = Spec {
    name: "outrigger_config_info",
    kind: "gauge",
    labels: ["hash"],
    help: "1 for the document in force, by its hash",
};
pub(in crate::telemetry) const CONFIG_GENERATION: Spec<0> = Spec {
    name: "outrigger_config_generation",
    kind: "gauge",
    labels: [],
    help: "How many configurations this process has put in force",
};
pub(in crate::telemetry) const CONFIG_LAST_SUCCESS: Spec<0> = Spec {
    name: "outrigger_config_last_success_timestamp_seconds",
    kind: "gauge",
    labels: [],
    help: "Unix time at which a configuration was last put in force",
};
pub(in crate::telemetry) const CONFIG_UNKNOWN: Spec<0> = Spec {
    name: "outrigger_config_unknown_fields",
    kind: "gauge",
    labels: [],
    help: "Fields of the document in force that this version doesn't know",
};
pub(in crate::telemetry) const DROPPED_LINES: Spec<0> = Spec {
    name: "outrigger_access_log_dropped_lines",
    kind: "counter",
    labels: [],
    help: "Access log lines that were not written, because nobody took them",
};
pub(in crate::telemetry) const PANICS: Spec<0> = Spec {
    name: "outrigger_panics",
    kind: "counter",
    labels: [],
    help: "Connections ended by a fault of this program",
};
pub(in crate::telemetry) const BUILD_INFO: Spec<1> =
    Spec { name: "outrigger_build_info", kind: "gauge", labels: ["version"], help: "1, with the program's version" };

/// All of them, as they are scraped.
pub const TABLE: [Row; 20] = [
    REQUESTS.row("outrigger_requests_total"),
    DURATION.row("outrigger_request_duration_seconds"),
    REQUEST_BYTES.row("outrigger_request_body_bytes_total"),
    RESPONSE_BYTES.row("outrigger_response_body_bytes_total"),
    OPENED.row("outrigger_connections_opened_total"),
    ACTIVE.row("outrigger_connections_active"),
    CLOSED.row("outrigger_opaque_connections_closed_total"),
    OPAQUE_BYTES.row("outrigger_opaque_bytes_total"),
    DETECTIONS.row("outrigger_protocol_detections_total"),
    AUTHORIZATION.row("outrigger_authorization_total"),
    RETRIES.row("outrigger_retries_total"),
    DRY_RUN_ROUTES.row("outrigger_dry_run_routes_total"),
    RELOADS.row("outrigger_config_reload_total"),
    CONFIG_INFO.row("outrigger_config_info"),
    CONFIG_GENERATION.row("outrigger_config_generation"),
    CONFIG_LAST_SUCCESS.row("outrigger_config_last_success_timestamp_seconds"),
    CONFIG_UNKNOWN.row("outrigger_config_unknown_fields"),
    DROPPED_LINES.row("outrigger_access_log_dropped_lines_total"),
    PANICS.row("outrigger_panics_total"),
    BUILD_INFO.row("outrigger_build_info"),
];

impl<const N: usize> Spec<N> {
    const fn row(&'static self, name: &'static str) -> Row {
        Row { name, kind: self.kind, labels: &self.labels, help: self.help }
    }

    /// The labels with these values.
    pub(in crate::telemetry) fn with(&self, values: [Label; N]) -> LabelSet<N> {
        let mut names = self.labels.iter();
        values.map(|value| (names.next().copied().unwrap_or_default(), value))
    }

    pub(super) fn register(&self, registry: &mut Registry, metric: impl Metric) {
        registry.register(self.name, self.help, metric);
    }
}

pub(in crate::telemetry) type LabelSet<const N: usize> = [(&'static str, Label); N];

/// A label's value. An empty one is the same as none (Prometheus' data model).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::telemetry) enum Label {
    Text(&'static str),
    Shared(Arc<str>),
    Number(u16),
}

impl EncodeLabelValue for Label {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Label::Text(text) => encoder.write_str(text),
            Label::Shared(text) => encoder.write_str(text),
            Label::Number(number) => write!(encoder, "{number}"),
        }
    }
}

impl From<&'static str> for Label {
    fn from(text: &'static str) -> Label {
        Label::Text(text)
    }
}

impl From<&Arc<str>> for Label {
    fn from(text: &Arc<str>) -> Label {
        Label::Shared(Arc::clone(text))
    }
}
