//! An HTTP service that says who answered and what it saw, as JSON. Query parameters change the answer: `status=503`,
//! `sleep=200` (milliseconds), `size=10000` (bytes of body). `/healthz` is for probes; `/fetch?url=…` calls another
//! service with the same request id, as a front end would.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{rt::TokioIo, server::conn::auto};
use serde_json::json;
use std::{cell::Cell, convert::Infallible, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{net::TcpListener, sync::watch};

#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

pub async fn run(address: SocketAddr, name: &str) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    println!("{name} listens on {}", listener.local_addr()?);
    let (stop, stopped) = watch::channel(false);
    let open = Rc::new(Cell::new(0_u32));
    let name: Rc<str> = name.into();
    let mut terminated = std::pin::pin!(super::terminated());
    loop {
        tokio::select! {
            _ = &mut terminated => break,
            accepted = listener.accept() => {
                let Ok((stream, peer)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let local = stream.local_addr()?;
                let (name, mut stopped, open) = (name.clone(), stopped.clone(), open.clone());
                open.set(open.get() + 1);
                tokio::task::spawn_local(async move {
                    let service = service_fn(move |request| answer(request, name.clone(), peer, local));
                    let builder = auto::Builder::new(LocalExecutor);
                    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
                    tokio::select! {
                        _ = &mut connection => {}
                        _ = stopped.changed() => {
                            connection.as_mut().graceful_shutdown();
                            let _ = connection.await;
                        }
                    }
                    open.set(open.get() - 1);
                });
            }
        }
    }
    // the listener closes at once, as most servers' does; what is in flight finishes
    drop(listener);
    let _ = stop.send(true);
    while open.get() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("{name} ends");
    Ok(())
}

async fn answer(
    request: Request<Incoming>,
    name: Rc<str>,
    peer: SocketAddr,
    local: SocketAddr,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let received = body.collect().await.map_or(0, |body| body.to_bytes().len());
    let query = head.uri.query().unwrap_or_default().to_owned();
    let parameter = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    if head.uri.path() == "/healthz" {
        return Ok(Response::new(Full::new("ok\n".into())));
    }
    if let ("/fetch", Some(url)) = (head.uri.path(), parameter("url")) {
        return Ok(fetch(url, head.headers.get("x-request-id")).await);
    }
    if let Some(millis) = parameter("sleep").and_then(|value| value.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    let body = match parameter("size").and_then(|value| value.parse().ok()) {
        Some(size) => Bytes::from(vec![b'x'; size]),
        None => {
            let headers: serde_json::Map<_, _> = head
                .headers
                .iter()
                .map(|(key, value)| (key.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
                .collect();
            let host = std::env::var("HOSTNAME").unwrap_or_default();
            let answer = json!({
                "name": &*name, "host": host, "method": head.method.as_str(), "path": head.uri.path(),
                "version": format!("{:?}", head.version), "remote": peer, "local": local, "received": received,
                "headers": headers,
            });
            format!("{answer}\n").into()
        }
    };
    let mut response = Response::new(Full::new(body));
    if let Some(status) = parameter("status").and_then(|value| value.parse().ok()) {
        *response.status_mut() = status;
    }
    Ok(response)
}

async fn fetch(url: &str, request_id: Option<&http::HeaderValue>) -> Response<Full<Bytes>> {
    let header = request_id.map(|id| ("x-request-id", id.clone()));
    match super::get::fetch(url, header).await {
        Ok(response) => response.map(Full::new),
        Err(error) => {
            let mut response = Response::new(Full::new(format!("{error:#}\n").into()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}
