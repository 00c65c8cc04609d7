//! `httpGet`: one request over a connection of its own.

use super::connect::connect;
use super::{Failure, Pod, tls};
use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mesh_config::pod::HttpGet;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncRead, AsyncWrite};

/// As much of a body as the kubelet reads, so that the application sees its answer taken.
const BODY: usize = 10 * 1024;

pub(super) async fn ask(pod: &Pod, get: &HttpGet, asked_with: &HeaderMap) -> Result<(), Failure> {
    let port = pod.port(&get.port)?;
    let request = request(pod, get, port, asked_with)?;
    let stream = connect(pod, get.host.as_deref(), port).await?;
    // the API server takes no other schemes than these two
    let status = match get.scheme.as_deref() {
        Some("HTTPS") => {
            let name = get.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| pod.address.to_string());
            send(tls::handshake(stream, &name).await?, request).await?
        }
        _ => send(stream, request).await?,
    };
    if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(Failure::Status(status)) }
}

/// What the kubelet would have sent (pkg/probe/http/request.go).
fn request(pod: &Pod, get: &HttpGet, port: u16, asked_with: &HeaderMap) -> Result<Request<Empty<Bytes>>, Failure> {
    let bad = |what, value: &str, reason: &dyn std::fmt::Display| Failure::Request {
        what,
        value: value.to_owned(),
        reason: reason.to_string(),
    };
    let path = get.path.as_deref().unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let uri: Uri = format!("{slash}{path}").parse().map_err(|error| bad("path", path, &error))?;

    let mut headers = HeaderMap::new();
    let mut host = authority(get.host.as_deref().filter(|host| !host.is_empty()), pod.address, port);
    for header in &get.http_headers {
        let name =
            HeaderName::from_bytes(header.name.as_bytes()).map_err(|error| bad("header", &header.name, &error))?;
        let value = HeaderValue::from_str(&header.value).map_err(|error| bad("header", &header.name, &error))?;
        match name {
            HOST => host = header.value.clone(),
            name => drop(headers.append(name, value)),
        }
    }
    let host = HeaderValue::from_str(&host).map_err(|error| bad("host", &host, &error))?;
    headers.insert(HOST, host);
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    if let Some(agent) = asked_with.get(USER_AGENT) {
        headers.entry(USER_AGENT).or_insert_with(|| agent.clone());
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));

    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

fn authority(host: Option<&str>, address: IpAddr, port: u16) -> String {
    match host {
        Some(host) if host.contains(':') => format!("[{host}]:{port}"),
        Some(host) => format!("{host}:{port}"),
        None => SocketAddr::new(address, port).to_string(),
    }
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<http::StatusCode, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        drain(response).await;
        Ok(status)
    };
    tokio::select! {
        result = exchange => result,
        // it ends before the exchange does only with an error, which the exchange sees as well, but says less of
        Err(error) = connection => Err(error.into()),
    }
}

async fn drain(mut response: Response<Incoming>) {
    let mut read = 0;
    while read < BODY
        && let Some(Ok(frame)) = response.frame().await
    {
        read += frame.data_ref().map_or(0, Bytes::len);
    }
}
