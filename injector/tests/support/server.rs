//! The webhook's server on port 0, an API server that it reads from, and an HTTPS client that calls it as a real one
//! does.

use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use injector::mesh_source::MeshSource;
use injector::metrics::Metrics;
use injector::namespaces::Namespaces;
use injector::webhook::{Webhook, router};
use kube::Client;
use kube::client::Body;
use mesh_kube::events::Events;
use mesh_runtime::readiness::Readiness;
use mesh_runtime::signals::Shutdown;
use mesh_runtime::tls::CertResolver;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

pub struct Server {
    pub address: SocketAddr,
    pub metrics: Metrics,
    pub shutdown: Shutdown,
    pub serving: tokio::task::JoinHandle<()>,
    /// Events that were written.
    pub events: mpsc::UnboundedReceiver<Value>,
    pub resolver: CertResolver,
    pub certificate: CertificateDer<'static>,
}

/// A certificate for `localhost`, put into service.
pub fn certify(resolver: &CertResolver) -> CertificateDer<'static> {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    resolver.replace_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    certified.cert.der().clone()
}

/// Knows one namespace, `shop`, labelled `enabled`; takes Events.
fn api_server() -> (Client, mpsc::UnboundedReceiver<Value>) {
    let (said, events) = mpsc::unbounded_channel();
    let service = tower::service_fn(move |request: Request<Body>| {
        let said = said.clone();
        async move {
            let (head, body) = request.into_parts();
            let (code, answer) = match head.uri.path() {
                "/api/v1/namespaces/shop" => {
                    (200, json!({"metadata": {"name": "shop", "labels": {"outrigger.dev/inject": "enabled"}}}))
                }
                path if path.ends_with("/events") => {
                    let event: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
                    said.send(event.clone()).unwrap();
                    (201, event)
                }
                _ => (404, json!({"kind": "Status", "status": "Failure", "code": 404, "message": "not there"})),
            };
            let body = Body::from(answer.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Client::new(service, "default"), events)
}

impl Server {
    /// With these mesh-wide settings in force; with `None`, none are yet.
    pub fn start(mesh_yaml: Option<&str>) -> Self {
        let (client, written) = api_server();
        let events = Events::new(client.clone(), "outrigger-injector");
        let metrics = Metrics::new(Some(events.clone()));
        let mesh = MeshSource::new("outrigger-system");
        if mesh_yaml.is_some() {
            mesh.take(mesh_yaml, &metrics, &Readiness::new().gate("mesh.yaml"));
        }
        let namespaces = Namespaces::new(client);
        let resolver = CertResolver::new();
        let certificate = certify(&resolver);
        let listeners = mesh_runtime::listen::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let shutdown = Shutdown::new();
        let webhook = Webhook { namespaces, mesh, metrics: metrics.clone(), events: Some(events) };
        let serving = injector::serve::serve(listeners, resolver.clone(), router(webhook), shutdown.clone());
        let serving = tokio::spawn(async move { serving.await.unwrap() });
        Server { address, metrics, shutdown, serving, events: written, resolver, certificate }
    }

    /// A connection that trusts one certificate alone and speaks HTTP/2, as API servers do.
    pub async fn connect(&self, trusted: &CertificateDer<'static>) -> std::io::Result<Connection> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = tokio::net::TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Ok(Connection(send))
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> (StatusCode, String) {
        self.connect(&self.certificate).await.unwrap().post(path, body).await
    }

    /// Sends a review; its answer.
    pub async fn review(&self, path: &str, review: &Value) -> Value {
        let (status, body) = self.post(path, review.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&answer["apiVersion"], &answer["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        answer["response"].clone()
    }
}

pub struct Connection(http2::SendRequest<Full<Bytes>>);

impl Connection {
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> (StatusCode, String) {
        self.send("POST", path, body).await
    }

    pub async fn send(&mut self, method: &str, path: &str, body: impl Into<Bytes>) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .unwrap();
        let response = self.0.send_request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

/// A review of the creation of this Pod in the namespace `shop`.
pub fn review_of(pod: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": "CREATE", "namespace": "shop", "dryRun": false,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "object": pod, "oldObject": null, "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"}}})
}
