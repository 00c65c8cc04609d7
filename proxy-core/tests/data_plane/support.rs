//! A running data plane, fake applications, and callers.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_config::proxy::Valid;
use proxy_core::addr::OriginalDst;
use proxy_core::app::{App, Config, Handle, Running};
use proxy_core::snapshot::{Defaults, Snapshot};
use proxy_core::telemetry::Telemetry;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A test that hangs fails, on however slow a machine.
pub async fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test hangs")
}

/// Where redirected connections were going: set by the test.
#[derive(Debug)]
struct Destination(Mutex<Option<SocketAddr>>);

impl OriginalDst for Destination {
    fn original_dst(&self, _: &TcpStream, _: SocketAddr) -> io::Result<SocketAddr> {
        self.0.lock().unwrap().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Connects to where the answer may be a reset before the connection is even used.
pub async fn reset_at_once(address: SocketAddr) -> bool {
    match TcpStream::connect(address).await {
        Ok(mut stream) => was_reset(&mut stream).await,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

/// A running data plane.
pub struct Proxy {
    pub handle: Handle,
    pub telemetry: Arc<Telemetry>,
    pub outbound: SocketAddr,
    pub inbound: SocketAddr,
    destination: Arc<Destination>,
    generation: AtomicU64,
    running: Option<Running>,
}

impl Proxy {
    /// With a document, leading to this destination.
    pub fn new(document: &Value, destination: SocketAddr) -> Proxy {
        let proxy = Proxy::without_document(1, Some(destination));
        proxy.update(document);
        proxy
    }

    /// With a document that says nothing.
    pub fn plain(destination: SocketAddr) -> Proxy {
        Proxy::new(&json!({"version": 1}), destination)
    }

    pub fn without_document(workers: usize, destination: Option<SocketAddr>) -> Proxy {
        let destination = Arc::new(Destination(Mutex::new(destination)));
        let telemetry = Telemetry::new();
        let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let app = App::bind(Config {
            outbound: vec![any_port],
            inbound: vec![any_port],
            workers,
            original_dst: destination.clone(),
            telemetry: telemetry.clone(),
        })
        .unwrap();
        let (outbound, inbound) = (app.addresses().outbound[0], app.addresses().inbound[0]);
        let handle = app.handle();
        let running = Some(app.run().unwrap());
        Proxy { handle, telemetry, outbound, inbound, destination, generation: AtomicU64::new(0), running }
    }

    pub fn update(&self, document: &Value) {
        let valid = Valid::from_bytes(document.to_string().as_bytes()).unwrap();
        let defaults = Defaults { detect_timeout: Duration::from_millis(50), access_log: Default::default() };
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let snapshot = Snapshot::new(&valid, "sha256:test", generation, &Default::default(), &[], &defaults).unwrap();
        self.handle.update(Arc::new(snapshot));
    }

    pub fn leads_to(&self, destination: SocketAddr) {
        *self.destination.0.lock().unwrap() = Some(destination);
    }

    /// The sum of a metric's lines that contain all of these words.
    pub fn metric(&self, name: &str, words: &[&str]) -> u64 {
        let text = self.telemetry.metrics.encode();
        let lines = text.lines().filter(|line| line.starts_with(name) && words.iter().all(|word| line.contains(word)));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Waits until a condition holds that other threads bring about.
    pub async fn until(&self, mut condition: impl FnMut(&Proxy) -> bool) {
        while !condition(self) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until the workers have ended.
    pub async fn ended(&mut self) {
        self.running.take().unwrap().ended().await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.handle.stop(Duration::ZERO);
        if let Some(running) = self.running.take() {
            running.join();
        }
    }
}

/// The address of a Service whose requests all go to an application (a document has no loopback addresses, and nothing
/// else can be connected to everywhere).
pub fn called(app: SocketAddr) -> SocketAddr {
    SocketAddr::new("192.0.2.123".parse().unwrap(), app.port())
}

/// A document with that Service.
pub fn service(app: SocketAddr, mut port: Value) -> Value {
    port["port"] = app.port().into();
    if port.get("routes").is_none() {
        port["routes"] = json!([{"name": "all"}]);
    }
    for route in port["routes"].as_array_mut().unwrap() {
        if route.get("backends").is_none() {
            route["backends"] = json!([{"cluster": "app", "weight": 1}]);
        }
    }
    json!({
        "version": 1,
        "services": [{"name": "shop/called", "addresses": [called(app).ip()], "ports": [port]}],
        "clusters": {"app": {"endpoints": [{"addresses": [app.ip()], "port": app.port()}]}},
    })
}

/// A document with a layer for the workload.
pub fn layer(mut layer: Value) -> Value {
    layer["source"] = "MeshPolicy/shop/tested".into();
    json!({"version": 1, "layers": [layer]})
}

pub async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address at which nobody listens.
pub async fn closed_port() -> SocketAddr {
    listen().await.1
}

pub type Answered = Response<Full<Bytes>>;

pub fn text(status: u16, text: impl Into<Bytes>) -> Answered {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// An application that speaks HTTP/1.
pub async fn http1_app<H, F>(handle: H) -> SocketAddr
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answered> + Send,
{
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handle = handle.clone();
            let service = service_fn(move |request| {
                let answer = handle(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades(),
            );
        }
    });
    address
}

/// An application that tells what it was asked: `METHOD URI` and the header, one field a line, then the body.
pub async fn echo_app() -> SocketAddr {
    http1_app(|request| async { text(200, told(request).await) }).await
}

pub async fn told(request: Request<Incoming>) -> String {
    let (parts, body) = request.into_parts();
    let mut told = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
    for (name, value) in &parts.headers {
        told += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    told + "\n" + std::str::from_utf8(&body).unwrap()
}

/// A caller that speaks HTTP/1.
pub async fn http1_caller(address: SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

/// A caller that speaks HTTP/2 without being asked.
pub async fn http2_caller(address: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub fn request(method: &str, uri: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(uri).header("host", "called.shop");
    request.body(Full::new(body.into())).unwrap()
}

pub fn get(uri: &str) -> Request<Full<Bytes>> {
    request("GET", uri, "")
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

pub async fn read(response: Response<Incoming>) -> Got {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    Got { status: parts.status.as_u16(), headers: parts.headers, text }
}

/// One request on a connection of its own.
pub async fn call(address: SocketAddr, request: Request<Full<Bytes>>) -> Got {
    read(http1_caller(address).await.send_request(request).await.unwrap()).await
}

/// Sends raw bytes, and gives what comes back until the end.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Reads a request's head from a raw connection; empty where it has been closed.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Whether a connection ended by a reset, not in order.
pub async fn was_reset(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}
