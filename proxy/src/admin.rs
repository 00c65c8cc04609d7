//! What the three ports of our own answer: 15000 to people on the machine, 15020 to scrapers and to the kubelet's probes
//! of the application, 15021 to the kubelet's probes of the proxy.

use crate::config::{Config, dump};
use crate::drain::Drain;
use crate::probes;
use crate::settings::Options;
use ::http::header::{CONTENT_TYPE, HeaderValue};
use ::http::{Response, StatusCode};
use bytes::Bytes;
use mesh_runtime::admin::{self, Table};
use mesh_runtime::logs::LevelHandle;
use mesh_runtime::readiness::Readiness;
use proxy_core::telemetry::Telemetry;
use std::sync::Arc;

/// The tables of the ports.
pub struct Tables {
    pub admin: Table,
    pub metrics: Table,
    pub health: Table,
}

/// What the pages tell of.
pub struct Subjects {
    pub config: Config,
    pub drain: Drain,
    pub telemetry: Arc<Telemetry>,
    pub readiness: Readiness,
    /// `None`: somebody else has set logging up.
    pub log_level: Option<LevelHandle>,
}

impl Tables {
    pub fn new(options: &Options, subjects: Subjects) -> Tables {
        let Subjects { config, drain, telemetry, readiness, log_level } = subjects;
        let health = admin::health_routes(&readiness);
        let metrics = metrics_routes(telemetry);
        let probes = probes::routes(&options.identity, &options.settings.ports, &options.settings.probes);
        let admin = health.clone().merge(metrics.clone()).merge(config_routes(options, config)).merge(drain.routes());
        let admin = match &log_level {
            Some(level) => admin.merge(admin::log_level_routes(level)),
            None => admin,
        };
        Tables { admin, metrics: metrics.merge(probes), health }
    }
}

fn metrics_routes(telemetry: Arc<Telemetry>) -> Table {
    Table::new().get("/metrics", "all metrics, in the OpenMetrics text format", move |_| {
        telemetry.metrics.set_panics(mesh_runtime::panic::panics());
        let mut page: Response<Bytes> = Response::new(telemetry.metrics.encode().into());
        let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        page.headers_mut().insert(CONTENT_TYPE, content_type);
        async move { page }
    })
}

fn config_routes(options: &Options, config: Config) -> Table {
    let identity = options.identity.clone();
    Table::new().get("/config_dump", "the configuration in force, and what was refused and why", move |_| {
        let dump = dump::page(&config.keeper(), &identity);
        let page = admin::json(StatusCode::OK, format!("{dump:#}\n"));
        async move { page }
    })
}
