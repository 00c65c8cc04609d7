//! `telemetry`: what is written down about requests.

use crate::scalars::{text, word};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

word!(/// The form of an access log line.
    LogFormat { Text = "Text", Json = "JSON", None = "None" });
text!(/// Comparisons joined by && and ||.
    FilterText, min 1, max 256);

pub(crate) const EMPTY_TELEMETRY: &str = "telemetry says nothing; set accessLog, or remove it";
pub(crate) const EMPTY_ACCESS_LOG: &str = "accessLog says nothing; set format or filter, or remove it";
pub(crate) const FILTER_WITHOUT_LOG: &str =
    "with format: None nothing is written, so there is nothing to filter; remove filter, or set another format";

/// What the proxies write down about requests and connections.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.accessLog)").message(EMPTY_TELEMETRY))]
pub struct Telemetry {
    /// The access log: one line for each request or opaque connection, on the proxy's standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
}

/// The access log.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.format) || has(self.filter)").message(EMPTY_ACCESS_LOG),
    validation = Rule::new("!has(self.format) || self.format != 'None' || !has(self.filter)")
        .message(FILTER_WITHOUT_LOG).field_path(".filter").reason(Reason::FieldValueForbidden)
)]
pub struct AccessLog {
    /// Text, JSON, or None for no lines at all. Unset: what a less specific policy says, else what the Pod was injected
    /// with (proxy.accessLog of mesh.yaml; without it None). Example: JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
    /// Which requests are written, up to 256 characters: comparisons of status (a number) and duration (such as 1s or
    /// 250ms) by >=, >, <=, <, == or !=, joined by && and ||, of which && binds tighter. Unset: all. Example: status >=
    /// 500 || duration > 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterText>,
}

impl AccessLog {
    /// The filter, understood; `None` where there is none.
    pub fn parsed_filter(&self) -> Option<Result<mesh_config::Filter, mesh_config::filter::NotAFilter>> {
        self.filter.as_ref().map(|filter| filter.0.parse())
    }
}
