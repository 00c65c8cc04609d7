//! The webhook's server: HTTP/2 (which the API server speaks) or HTTP/1.1 over TLS.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use mesh_runtime::signals::Shutdown;
use mesh_runtime::tls::{self, CertResolver, Limits};
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// For the head of an HTTP/1.1 request, and so for the pause between two of them.
const HEAD: Duration = Duration::from_secs(30);
/// API servers keep one connection; one that vanished without a word is noticed by a ping.
const PING: Duration = Duration::from_secs(30);

/// Serves until shutdown; requests under way are finished.
pub async fn serve(
    listeners: Vec<TcpListener>,
    resolver: CertResolver,
    router: Router,
    shutdown: Shutdown,
) -> io::Result<()> {
    let config = tls::server_config(resolver, &["h2", "http/1.1"]);
    let stop = shutdown.clone();
    let each = move |stream, _| connection(stream, router.clone(), stop.clone());
    tls::serve_tls(listeners, config, Limits::default(), shutdown, each).await
}

async fn connection(stream: TlsStream<TcpStream>, router: Router, shutdown: Shutdown) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(error, "webhook connection ended");
    }
}
