//! `grpc`: the health protocol (grpc.health.v1, grpc/doc/health-checking.md) over HTTP/2 without TLS, as the kubelet speaks
//! it. Two messages of one field each: written and read by hand.

use super::connect::connect;
use super::{Failure, Pod};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// An answer has two bytes of message; what is much larger is something else.
const ANSWER: usize = 4096;

pub(super) async fn ask(pod: &Pod, port: u16, service: &str, asked_with: &HeaderMap) -> Result<(), Failure> {
    let stream = connect(pod, None, port).await?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let exchange =
        async {
            let uri = format!("http://{}/grpc.health.v1.Health/Check", SocketAddr::new(pod.address, port));
            let mut request = Request::post(uri).body(Full::new(message(service))).map_err(|error| {
                Failure::Request { what: "service", value: service.to_owned(), reason: error.to_string() }
            })?;
            let headers = request.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.extend(asked_with.get(USER_AGENT).map(|agent| (USER_AGENT, agent.clone())));
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(Failure::Status(response.status()));
            }
            // an error without a message has its status in the head
            check_status(response.headers())?;
            let body = Limited::new(response.into_body(), ANSWER).collect().await;
            let body = body.map_err(|_| Failure::NotGrpc("its body is broken, or too large"))?;
            check_status(body.trailers().unwrap_or(&HeaderMap::new()))?;
            serving(&body.to_bytes())
        };
    tokio::select! {
        result = exchange => result,
        Err(error) = connection => Err(error.into()),
    }
}

/// HealthCheckRequest { string service = 1 }, uncompressed, with its length before it.
fn message(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        // field 1, length-delimited
        message.push(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            // seven bits at a time, the highest says that more follow
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend(service.as_bytes());
    }
    let mut framed = vec![0];
    // a service's name is far below 4 GiB
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed.into()
}

fn check_status(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get(&GRPC_STATUS) {
        None => Ok(()),
        Some(status) if status == "0" => Ok(()),
        Some(status) => Err(Failure::GrpcStatus(String::from_utf8_lossy(status.as_bytes()).into_owned())),
    }
}

/// HealthCheckResponse { ServingStatus status = 1 }.
fn serving(body: &[u8]) -> Result<(), Failure> {
    let message = match body.split_first_chunk::<5>() {
        Some(([0, length @ ..], message)) if u32::from_be_bytes(*length) as usize == message.len() => message,
        _ => return Err(Failure::NotGrpc("it has no whole, uncompressed message")),
    };
    match message {
        // field 1, varint
        [0x08, 1, ..] => Ok(()),
        [] | [0x08, 0, ..] => Err(Failure::NotServing("UNKNOWN")),
        [0x08, 2, ..] => Err(Failure::NotServing("NOT_SERVING")),
        [0x08, 3, ..] => Err(Failure::NotServing("SERVICE_UNKNOWN")),
        _ => Err(Failure::NotGrpc("its message is no health check response")),
    }
}
