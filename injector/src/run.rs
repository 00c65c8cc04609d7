//! The running injector: its watches, its certificate, its two ports, and how it stops.

use crate::mesh_source::MeshSource;
use crate::metrics::Metrics;
use crate::namespaces::Namespaces;
use crate::serve::serve;
use crate::webhook::{Webhook, router};
use axum::http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use kube::Client;
use mesh_kube::events::Events;
use mesh_kube::webhook_cert::{ConfigurationRef, WebhookCert};
use mesh_runtime::admin::{self, Table};
use mesh_runtime::listen::{BindError, bind};
use mesh_runtime::readiness::Readiness;
use mesh_runtime::signals::Shutdown;
use mesh_runtime::tls::CertResolver;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The Service's name, the MutatingWebhookConfiguration's, and the reporter of our Events.
pub const NAME: &str = "outrigger-injector";
/// The Secret that holds the webhook's certificate.
pub const SECRET: &str = "outrigger-injector-certificate";
/// After SIGTERM the API server may still call us until kube-proxy has heard that we are going.
const LINGER: Duration = Duration::from_secs(3);

/// What differs from one installation to another.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: Vec<SocketAddr>,
    pub health_listen: Vec<SocketAddr>,
    /// Where we run.
    pub namespace: String,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("serving: {0}")]
    Serve(#[from] io::Error),
}

/// Runs until shutdown. `pages` are further pages for the health port.
pub async fn run(options: Options, client: Client, pages: Table, shutdown: Shutdown) -> Result<(), RunError> {
    let (listeners, health) = (bind(&options.listen)?, bind(&options.health_listen)?);
    let readiness = Readiness::new();
    let draining = readiness.gate("draining");
    draining.open();
    let events = Events::new(client.clone(), NAME);
    let metrics = Metrics::new(Some(events.clone()));
    // stops later than `shutdown` says
    let stop = Shutdown::new();

    let namespaces = Namespaces::new(client.clone());
    tokio::spawn(namespaces.clone().run(readiness.gate("namespaces"), stop.clone()));
    let mesh = MeshSource::new(&options.namespace);
    tokio::spawn(mesh.clone().run(client.clone(), metrics.clone(), readiness.gate("mesh.yaml"), stop.clone()));
    let resolver = CertResolver::new();
    let certificate = certificate(&options.namespace);
    tokio::spawn(certificate.run(client, resolver.clone(), readiness.gate("certificate"), stop.clone()));
    let table = admin::health_routes(&readiness).merge(metrics_routes(&metrics)).merge(pages);
    tokio::spawn(admin::serve(health, table, stop.clone()));

    tokio::spawn({
        let stop = stop.clone();
        async move {
            shutdown.requested().await;
            draining.close("stopping");
            tokio::time::sleep(LINGER).await;
            stop.trigger();
        }
    });
    let webhook = Webhook { namespaces, mesh, metrics, events: Some(events) };
    serve(listeners, resolver, router(webhook), stop).await?;
    Ok(())
}

fn certificate(namespace: &str) -> WebhookCert {
    WebhookCert {
        namespace: namespace.to_owned(),
        secret: SECRET.to_owned(),
        dns_names: vec![format!("{NAME}.{namespace}.svc")],
        configurations: vec![ConfigurationRef::Mutating(NAME.to_owned())],
    }
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
