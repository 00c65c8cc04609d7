//! What the API server calls: one review in, one answer out. A panic is that request's 500 and nobody else's.

use crate::mesh_source::MeshSource;
use crate::metrics::{Cause, Metrics};
use crate::namespaces::Namespaces;
use crate::review::{self, Rejected, Request};
use crate::selectors::Path;
use crate::{Decision, Outcome, Reason, inject};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::post;
use futures_util::FutureExt as _;
use k8s_openapi::api::core::v1::ObjectReference;
use mesh_kube::events::{Events, Type};
use serde_json::Value;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A review carries the object once (twice for updates); objects have at most 1.5 MiB in etcd by default, and the API
/// server takes requests of 3 MiB.
const MAX_BODY: usize = 8 << 20;
/// The API server waits five seconds; what takes longer isn't waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a call needs.
pub struct Webhook {
    pub namespaces: Namespaces,
    pub mesh: MeshSource,
    pub metrics: Metrics,
    /// Refusals are told to the Pod's owner.
    pub events: Option<Events>,
}

/// Both paths.
pub fn router(webhook: Webhook) -> Router {
    let route = |path: Path| {
        post(move |State(webhook): State<Arc<Webhook>>, body: Bytes| async move { webhook.call(path, &body).await })
    };
    let webhook = Arc::new(webhook);
    Router::new()
        .route(Path::Ns.as_str(), route(Path::Ns))
        .route(Path::Pod.as_str(), route(Path::Pod))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(webhook.metrics.clone(), guard))
        .with_state(webhook)
}

/// Bounds a request in time, and keeps a panic to itself.
async fn guard(State(metrics): State<Metrics>, request: HttpRequest, next: Next) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            // the hook has logged it
            metrics.failed(Cause::Internal);
            failure(StatusCode::INTERNAL_SERVER_ERROR, "the injector panicked; its log says where")
        }
        Err(_) => failure(StatusCode::REQUEST_TIMEOUT, "the request took longer than 10 s"),
    }
}

impl Webhook {
    async fn call(&self, path: Path, body: &[u8]) -> Response {
        let started = Instant::now();
        let response = match Request::parse(body) {
            Ok(request) => self.answer(path, &request).await,
            Err(rejected) => {
                self.metrics.failed(Cause::Malformed);
                match rejected {
                    Rejected::Malformed(message) => failure(StatusCode::BAD_REQUEST, message),
                    Rejected::Unsupported { uid, message } => Json(review::unsupported(&uid, &message)).into_response(),
                }
            }
        };
        self.metrics.took(started.elapsed());
        response
    }

    async fn answer(&self, path: Path, request: &Request) -> Response {
        let outcome = match self.decide(path, request).await {
            Ok(outcome) => outcome,
            Err((cause, status, message)) => {
                tracing::warn!(uid = request.uid, message, "no decision");
                self.metrics.failed(cause);
                return failure(status, message);
            }
        };
        let dry_run = request.is_dry_run();
        tracing::info!(
            uid = request.uid,
            namespace = request.namespace.as_deref().unwrap_or_default(),
            pod = name(&request.object),
            reason = %outcome.reason,
            patched = matches!(outcome.decision, Decision::Patch(_)),
            refused = matches!(outcome.decision, Decision::Refused(_)),
            dry_run,
            "decided"
        );
        if !dry_run {
            self.metrics.decided(&outcome);
            self.tell_owner(request, &outcome);
        }
        Json(review::answer(&request.uid, &outcome)).into_response()
    }

    async fn decide(&self, path: Path, request: &Request) -> Result<Outcome, (Cause, StatusCode, String)> {
        if !request.is_pod_create() {
            let reason = Reason::NotAPodCreate;
            return Ok(Outcome { reason, decision: Decision::Unchanged, warnings: Vec::new() });
        }
        let Some(mesh) = self.mesh.in_force() else {
            let message = "mesh.yaml isn't read yet, or is bad; /healthz/ready says which".to_owned();
            return Err((Cause::NotReady, StatusCode::SERVICE_UNAVAILABLE, message));
        };
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let namespace = self
            .namespaces
            .find(path, namespace, &mesh)
            .await
            .map_err(|error| (Cause::Namespace, StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
        inject(&request.object, &namespace, &mesh)
            .map_err(|error| (Cause::Internal, StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }

    /// Whoever made the Pod has the answer; for a controller's, `kubectl describe` of the controller says it too.
    fn tell_owner(&self, request: &Request, outcome: &Outcome) {
        let (Some(events), Decision::Refused(problems)) = (&self.events, &outcome.decision) else { return };
        let owners = request.object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let Some(owner) = owners.into_iter().flatten().find(|owner| owner["controller"] == true) else { return };
        let text = |field: &str| owner[field].as_str().map(str::to_owned);
        let owner = ObjectReference {
            api_version: text("apiVersion"),
            kind: text("kind"),
            name: text("name"),
            uid: text("uid"),
            namespace: request.namespace.clone(),
            ..ObjectReference::default()
        };
        let note = format!("Pod refused ({}): {problems}", outcome.reason);
        events.publish(owner, Type::Warning, "InjectionRefused", "Inject", &note);
    }
}

/// For the log; a controller's Pods get their names after admission.
fn name(pod: &Value) -> &str {
    let metadata = &pod["metadata"];
    metadata["name"].as_str().or(metadata["generateName"].as_str()).unwrap_or_default()
}

fn failure(status: StatusCode, message: impl Into<String>) -> Response {
    (status, format!("{}\n", message.into())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    async fn guarded(route: axum::routing::MethodRouter<()>) -> (StatusCode, String) {
        let metrics = Metrics::new(None);
        let router: Router =
            Router::new().route("/", route).layer(middleware::from_fn_with_state(metrics.clone(), guard));
        let response = router.oneshot(HttpRequest::new(Body::empty())).await.unwrap();
        (response.status(), metrics.encode())
    }

    #[tokio::test]
    async fn a_panic_is_that_requests_500() {
        async fn broken() -> &'static str {
            panic!("a test's panic")
        }
        let (status, metrics) = guarded(get(broken)).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(metrics.contains("outrigger_injection_failures_total{cause=\"internal\"} 1"), "{metrics}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_is_ended() {
        let (status, _) = guarded(get(std::future::pending::<&'static str>)).await;
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    }
}
