//! The webhook as the API server calls it: over TLS, on port 0.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy.toml exempts only inside #[test]

mod support;

use axum::http::StatusCode;
use base64::Engine as _;
use serde_json::{Value, json};
use std::time::Duration;
use support::server::{Server, certify, review_of};

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "web-", "namespace": "shop"},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]}})
}

fn apply(pod: &Value, response: &Value) -> Value {
    assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")), "{response}");
    let patch = base64::engine::general_purpose::STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &serde_json::from_slice::<json_patch::Patch>(&patch).unwrap()).unwrap();
    pod
}

#[tokio::test]
async fn a_pod_is_injected_and_sent_again_left_alone() {
    let server = Server::start(Some(""));
    let response = server.review("/inject/ns", &review_of(&pod())).await;
    assert_eq!(response["auditAnnotations"]["reason"], "NamespaceEnabled");
    let injected = apply(&pod(), &response);
    assert_eq!(injected["spec"]["initContainers"][1]["name"], "outrigger-proxy");

    let again = server.review("/inject/ns", &review_of(&injected)).await;
    assert_eq!((&again["allowed"], again.get("patch")), (&json!(true), None));
    let metrics = server.metrics.encode();
    for line in [
        "outrigger_injection_total{reason=\"NamespaceEnabled\",outcome=\"injected\"} 1",
        "outrigger_injection_total{reason=\"AlreadyInjected\",outcome=\"unchanged\"} 1",
        "outrigger_injection_duration_seconds_count 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_refusal_names_all_problems_and_is_told_to_the_owner_but_not_on_a_dry_run() {
    let mut server = Server::start(Some(""));
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"outrigger.dev/exclude-inbound-ports": "0", "outrigger.dev/proxy-cpu-limit": "x", "outrigger.dev/ports": ""});
    pod["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "example.com/v1", "kind": "Other", "name": "other", "uid": "1"},
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "2", "controller": true}]);
    let mut review = review_of(&pod);
    review["request"]["dryRun"] = true.into();
    server.review("/inject/ns", &review).await;
    assert!(!server.metrics.encode().contains("outrigger_injection_total{"), "a dry run counts nothing");

    review["request"]["dryRun"] = false.into();
    let response = server.review("/inject/ns", &review).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(403)));
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("exclude-inbound-ports]: '0'") && message.contains("proxy-cpu-limit]: 'x'"), "{message}");
    assert_eq!(response["warnings"], json!(["outrigger: annotation outrigger.dev/ports is unknown, and ignored"]));

    let event = tokio::time::timeout(Duration::from_secs(10), server.events.recv()).await.unwrap().unwrap();
    assert_eq!((&event["regarding"]["kind"], &event["regarding"]["uid"]), (&json!("ReplicaSet"), &json!("2")));
    assert_eq!((&event["reason"], &event["type"]), (&json!("InjectionRefused"), &json!("Warning")));
    assert!(server.events.try_recv().is_err(), "the dry run's is none");
}

#[tokio::test]
async fn what_is_no_pods_creation_is_allowed_as_it_is() {
    let server = Server::start(Some(""));
    let mut review = review_of(&Value::Null);
    review["request"]["operation"] = "DELETE".into();
    let response = server.review("/inject/pod", &review).await;
    assert_eq!((&response["allowed"], response.get("patch")), (&json!(true), None));
}

#[tokio::test]
async fn malformed_reviews_are_answered_with_what_is_wrong() {
    let server = Server::start(Some(""));
    let mut connection = server.connect(&server.certificate).await.unwrap();
    for (body, want) in [
        ("{", "not an AdmissionReview"),
        ("", "not an AdmissionReview"),
        (r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#, "admissionReviewVersions"),
        (r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}"#, "no request.uid"),
    ] {
        let (status, said) = connection.post("/inject/ns", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(said.contains(want), "{said}");
    }
    let old = r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"u"}}"#;
    let (status, said) = connection.post("/inject/ns", old).await;
    assert_eq!(status, StatusCode::OK);
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&answer["response"]["allowed"], &answer["response"]["uid"]), (&json!(false), &json!("u")));

    assert_eq!(connection.post("/inject", "{}").await.0, StatusCode::NOT_FOUND);
    assert_eq!(connection.send("GET", "/inject/ns", "").await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert!(server.metrics.encode().contains("outrigger_injection_failures_total{cause=\"malformed\"} 5"));
}

#[tokio::test]
async fn a_body_of_six_mebibytes_is_read_and_one_of_nine_is_not() {
    let server = Server::start(Some(""));
    let padded = |mebibytes: usize| {
        let mut pod = pod();
        pod["metadata"]["annotations"] = json!({"padding": "x".repeat(mebibytes << 20)});
        review_of(&pod)
    };
    apply(&padded(6)["request"]["object"], &server.review("/inject/ns", &padded(6)).await);
    let (status, _) = server.post("/inject/ns", padded(9).to_string()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    // and the server is as it was
    apply(&pod(), &server.review("/inject/ns", &review_of(&pod())).await);
}

#[tokio::test]
async fn without_what_a_decision_needs_there_is_none() {
    let server = Server::start(None);
    let (status, said) = server.post("/inject/ns", review_of(&pod()).to_string()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.contains("mesh.yaml"), "{said}");

    let server = Server::start(Some(""));
    let mut review = review_of(&pod());
    review["request"]["namespace"] = "nowhere".into();
    let (status, said) = server.post("/inject/ns", review.to_string()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.contains("namespace nowhere can't be read"), "{said}");
}

#[tokio::test]
async fn a_new_certificate_is_served_at_once_and_open_connections_live_on() {
    let server = Server::start(Some(""));
    let mut open = server.connect(&server.certificate).await.unwrap();
    let renewed = certify(&server.resolver);
    assert!(server.connect(&server.certificate).await.is_err());
    assert!(server.connect(&renewed).await.is_ok());
    assert_eq!(open.post("/inject/ns", review_of(&pod()).to_string()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn shutdown_ends_the_server() {
    let server = Server::start(Some(""));
    let idle = server.connect(&server.certificate).await.unwrap();
    server.shutdown.trigger();
    tokio::time::timeout(Duration::from_secs(10), server.serving).await.unwrap().unwrap();
    drop(idle);
}
