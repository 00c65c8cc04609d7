use super::*;
use crate::testing::{application, read_head};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_config::pod::ProbeKind;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

fn pod(port: u16) -> Pod {
    let identity = Identity { ips: vec![Ipv4Addr::LOCALHOST.into()], ..Identity::default() };
    let named = ContainerPort { container: "web".into(), name: Some("http".into()), port, protocol: None };
    Pod::new(&identity, &[named])
}

fn probe(kind: ProbeKind, handler: Value) -> Probe {
    Probe { container: "web".into(), kind, timeout_seconds: 1, handler }
}

/// What the probe says, or `ok`; the kubelet asks with its own user agent.
async fn said(pod: &Pod, kind: ProbeKind, handler: Value) -> String {
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", "kube-probe/1.36".parse().unwrap());
    match ask(pod, &probe(kind, handler), &headers).await {
        Ok(()) => "ok".into(),
        Err(failure) => failure.to_string(),
    }
}

const LIVENESS: ProbeKind = ProbeKind::LivenessProbe;

#[tokio::test]
async fn an_http_probe_asks_what_the_kubelet_would_have_asked_from_a_source_that_is_not_captured() {
    let (address, mut asked) = application("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let pod = pod(address.port());
    let handler = json!({"httpGet": {"path": "healthz?full=1", "port": "http", "httpHeaders": [
        {"name": "Host", "value": "shop.example"}, {"name": "X-A", "value": "1"}, {"name": "X-A", "value": "2"}]}});
    assert_eq!(said(&pod, LIVENESS, handler).await, "ok");
    let (source, head) = asked.recv().await.unwrap();
    assert_eq!(source.ip().to_string(), "127.0.0.6");
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "GET /healthz?full=1 HTTP/1.1",
            "accept: */*",
            "connection: close",
            "host: shop.example",
            "user-agent: kube-probe/1.36",
            "x-a: 1",
            "x-a: 2"
        ]
    );

    assert_eq!(said(&pod, LIVENESS, json!({"httpGet": {"port": address.port()}})).await, "ok");
    let (_, head) = asked.recv().await.unwrap();
    assert!(head.starts_with("GET / HTTP/1.1\r\n") && head.contains(&format!("host: {address}\r\n")), "{head}");
}

#[tokio::test]
async fn statuses_are_judged_as_the_kubelet_does_and_a_hook_takes_any() {
    for (answer, want) in [
        ("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n", "ok"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "the answer's status is 404 Not Found"),
        ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", "the answer's status is 503 Service Unavailable"),
    ] {
        let (address, _asked) = application(answer).await;
        let handler = json!({"httpGet": {"port": address.port()}});
        assert_eq!(said(&pod(1), LIVENESS, handler.clone()).await, want);
        assert_eq!(said(&pod(1), ProbeKind::PreStop, handler).await, "ok");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_says_why() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let pod = pod(closed.port());
    for (handler, want) in [
        (json!({"exec": {}}), "the probe can't be understood: "),
        (json!({"httpGet": {"port": "metrics"}}), "no container port is named Name(\"metrics\")"),
        (json!({"httpGet": {"port": 80, "path": "/ä b"}}), "the probe's path \"/ä b\" can't be sent: "),
        (json!({"httpGet": {"port": "http"}}), "can't connect to 127.0.0.1:"),
        (json!({"tcpSocket": {"port": "http"}}), "can't connect to 127.0.0.1:"),
        (json!({"grpc": {"port": closed.port()}}), "can't connect to 127.0.0.1:"),
    ] {
        let said = said(&pod, LIVENESS, handler.clone()).await;
        assert!(said.starts_with(want), "{handler}: {said}");
    }
}

#[tokio::test]
async fn an_application_that_says_nothing_fails_after_its_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let handler = json!({"httpGet": {"port": silent.local_addr().unwrap().port()}});
    assert_eq!(said(&pod(1), LIVENESS, handler).await, "no answer within 1 s");
}

#[tokio::test]
async fn a_socket_probe_wants_a_connection() {
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let handler = json!({"tcpSocket": {"port": open.local_addr().unwrap().port()}});
    assert_eq!(said(&pod(1), LIVENESS, handler).await, "ok");
    let handler = json!({"tcpSocket": {"host": "localhost", "port": open.local_addr().unwrap().port()}});
    assert_eq!(said(&pod(1), LIVENESS, handler).await, "ok");
}

#[tokio::test]
async fn an_https_probe_takes_any_certificate() {
    let certificate = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let mut stream = acceptor.accept(stream).await.unwrap();
        let head = read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        head
    });
    assert_eq!(said(&pod(1), LIVENESS, json!({"httpGet": {"port": port, "scheme": "HTTPS"}})).await, "ok");
    assert!(server.await.unwrap().starts_with("GET / HTTP/1.1\r\n"));
}

/// A gRPC server that answers every call with this message and status, and tells what it was sent.
async fn grpc_server(
    message: &'static [u8],
    status: &'static str,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Bytes>) {
    use http_body_util::{BodyExt as _, Full};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sent, tell) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sent = sent.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let sent = sent.clone();
                async move {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let _ = sent.send(request.into_body().collect().await?.to_bytes());
                    let trailers = [("grpc-status".parse().unwrap(), status.parse().unwrap())].into_iter().collect();
                    let body = Full::new(Bytes::from_static(message));
                    let body =
                        body.with_trailers(async move { Some(Ok::<HeaderMap, std::convert::Infallible>(trailers)) });
                    Ok::<_, hyper::Error>(::http::Response::new(body))
                }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, tell)
}

#[tokio::test]
async fn a_grpc_probe_speaks_the_health_protocol() {
    for (message, status, want) in [
        (&b"\0\0\0\0\x02\x08\x01"[..], "0", "ok"),
        (b"\0\0\0\0\x02\x08\x02", "0", "the service's health is NOT_SERVING"),
        (b"\0\0\0\0\x00", "0", "the service's health is UNKNOWN"),
        (b"", "5", "grpc-status 5"),
        (b"", "0", "the answer is not gRPC: it has no whole, uncompressed message"),
        (b"\0\0\0\0\x09\x08\x01", "0", "the answer is not gRPC: it has no whole, uncompressed message"),
    ] {
        let (address, mut sent) = grpc_server(message, status).await;
        let handler = |service: Value| json!({"grpc": {"port": address.port(), "service": service}});
        assert_eq!(said(&pod(1), LIVENESS, handler(json!("shop.Web"))).await, want, "{message:?}");
        assert_eq!(sent.recv().await.unwrap(), &b"\0\0\0\0\x0a\x0a\x08shop.Web"[..]);
        said(&pod(1), LIVENESS, handler(json!(null))).await;
        assert_eq!(sent.recv().await.unwrap(), &b"\0\0\0\0\0"[..]);
    }
    let (address, _asked) = application("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let said = said(&pod(1), LIVENESS, json!({"grpc": {"port": address.port()}})).await;
    assert!(said.starts_with("no answer: "), "{said}");
}
