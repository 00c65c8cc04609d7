//! The running operator: its election, its loop, its port, and how it stops.

use crate::controller;
use crate::metrics::Metrics;
use crate::reconcile::Reconciler;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use kube::Client;
use mesh_kube::events::Events;
use mesh_kube::lease;
use mesh_runtime::admin::{self, Table};
use mesh_runtime::listen::{BindError, bind};
use mesh_runtime::readiness::Readiness;
use mesh_runtime::signals::Shutdown;
use std::net::SocketAddr;

/// The Lease's name, the field manager, and the reporter of our Events.
pub const NAME: &str = crate::publish::FIELD_MANAGER;

/// What differs from one installation, and one replica, to another.
#[derive(Clone, Debug)]
pub struct Options {
    pub health_listen: Vec<SocketAddr>,
    pub namespace: String,
    pub identity: String,
}

/// Runs until shutdown, and gives the Lease back. `pages` are further pages for the health port.
pub async fn run(options: Options, client: Client, pages: Table, shutdown: Shutdown) -> Result<(), BindError> {
    let Options { health_listen, namespace, identity } = options;
    let health = bind(&health_listen)?;
    let readiness = Readiness::new();
    let events = Events::new(client.clone(), NAME);
    let metrics = Metrics::new(Some(events.clone()));
    let table = admin::health_routes(&readiness).merge(metrics_routes(&metrics)).merge(pages);
    let gate = readiness.gate("caches");
    tokio::spawn(admin::serve(health, table, shutdown.clone()));

    let mut leads = lease::campaign(client.clone(), &namespace, NAME, &identity, shutdown.clone());
    let reconciler = Reconciler::new(&namespace, metrics);
    controller::run(client, &namespace, reconciler, events, leads.clone(), gate, shutdown).await;
    lease::released(&mut leads).await;
    Ok(())
}

fn metrics_routes(metrics: &Metrics) -> Table {
    const OPEN_METRICS: HeaderValue =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    let metrics = metrics.clone();
    Table::new().get("/metrics", "what Prometheus reads", move |_| {
        let mut page = admin::text(StatusCode::OK, metrics.encode());
        page.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
        async move { page }
    })
}
