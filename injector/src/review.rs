//! `AdmissionReview`, version v1: our own few fields. kube's `admission` feature writes the patch as an array of bytes,
//! which no API server reads.

use crate::{Decision, Outcome};
use base64::Engine as _;
use json_patch::Patch;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// What the API server asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub uid: String,
    pub operation: String,
    pub resource: Resource,
    #[serde(default)]
    pub sub_resource: Option<String>,
    #[serde(default)]
    pub namespace: Option<String>,
    /// `null` for a DELETE.
    #[serde(default)]
    pub object: Value,
    #[serde(default)]
    pub dry_run: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Resource {
    #[serde(default)]
    pub group: String,
    pub version: String,
    pub resource: String,
}

/// Why it can't be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// There is nothing to answer to: HTTP 400.
    Malformed(String),
    /// A review of this uid that we don't understand: it is told so.
    Unsupported { uid: String, message: String },
}

impl Request {
    /// Reads a review.
    pub fn parse(body: &[u8]) -> Result<Self, Rejected> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Review {
            #[serde(default)]
            api_version: String,
            #[serde(default)]
            kind: String,
            #[serde(default)]
            request: Value,
        }
        let review: Review = serde_json::from_slice(body)
            .map_err(|error| Rejected::Malformed(format!("the body is not an AdmissionReview: {error}")))?;
        let uid = review.request["uid"].as_str().unwrap_or_default().to_owned();
        let rejected = |message: String| match uid.is_empty() {
            true => Rejected::Malformed(message),
            false => Rejected::Unsupported { uid: uid.clone(), message },
        };
        if (review.api_version.as_str(), review.kind.as_str()) != (API_VERSION, KIND) {
            return Err(rejected(format!(
                "'{} {}' is not understood; the webhook's admissionReviewVersions must be [\"v1\"]",
                review.api_version, review.kind
            )));
        }
        if uid.is_empty() {
            return Err(rejected("the review has no request.uid".into()));
        }
        Request::deserialize(review.request).map_err(|error| rejected(format!("the request can't be read: {error}")))
    }

    /// Is a Pod being made? (The decision table's first row.)
    pub fn is_pod_create(&self) -> bool {
        let Resource { group, version, resource } = &self.resource;
        (self.operation.as_str(), group.as_str(), version.as_str(), resource.as_str()) == ("CREATE", "", "v1", "pods")
            && self.sub_resource.as_deref().is_none_or(str::is_empty)
    }

    pub fn is_dry_run(&self) -> bool {
        self.dry_run == Some(true)
    }
}

/// The answer to a review that isn't understood.
pub fn unsupported(uid: &str, message: &str) -> Value {
    envelope(Response { uid, allowed: false, status: Some(status(400, "BadRequest", message)), ..Response::default() })
}

/// The answer. Warnings say whose they are, since the API server doesn't.
pub fn answer(uid: &str, outcome: &Outcome) -> Value {
    let mut response = Response {
        uid,
        allowed: true,
        warnings: outcome.warnings.iter().map(|warning| format!("outrigger: {warning}")).collect(),
        audit_annotations: Some(json!({"reason": outcome.reason.as_str()})),
        ..Response::default()
    };
    match &outcome.decision {
        Decision::Unchanged => {}
        Decision::Patch(patch) => {
            response.patch_type = Some("JSONPatch");
            response.patch = Some(encoded(patch));
        }
        Decision::Refused(problems) => {
            response.allowed = false;
            response.status = Some(status(403, "Forbidden", &format!("not injected ({}): {problems}", outcome.reason)));
        }
    }
    envelope(response)
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<Value>,
}

fn envelope(response: Response<'_>) -> Value {
    json!({"apiVersion": API_VERSION, "kind": KIND, "response": response})
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"status": "Failure", "code": code, "reason": reason, "message": message})
}

fn encoded(patch: &Patch) -> String {
    base64::engine::general_purpose::STANDARD.encode(patch.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;
    use mesh_config::Problems;

    fn review(request: Value) -> Vec<u8> {
        json!({"apiVersion": API_VERSION, "kind": KIND, "request": request}).to_string().into_bytes()
    }

    fn request() -> Value {
        json!({"uid": "u", "operation": "CREATE", "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop", "object": {"kind": "Pod"}, "dryRun": true, "userInfo": {"username": "somebody"}})
    }

    #[test]
    fn a_review_is_read() {
        let read = Request::parse(&review(request())).unwrap();
        assert_eq!((read.uid.as_str(), read.namespace.as_deref()), ("u", Some("shop")));
        assert!(read.is_pod_create() && read.is_dry_run());
    }

    #[test]
    fn only_the_creation_of_a_pod_is_one() {
        for (field, value) in [
            ("operation", json!("UPDATE")),
            ("subResource", json!("eviction")),
            ("resource", json!({"group": "", "version": "v1", "resource": "services"})),
            ("resource", json!({"group": "apps", "version": "v1", "resource": "pods"})),
        ] {
            let mut request = request();
            request[field] = value.clone();
            assert!(!Request::parse(&review(request)).unwrap().is_pod_create(), "{field} {value}");
        }
        let mut request = request();
        request["object"] = Value::Null;
        assert!(Request::parse(&review(request)).unwrap().is_pod_create());
    }

    #[test]
    fn what_is_not_understood_is_told_to_whom_it_can_be() {
        for malformed in
            [&b"{"[..], b"", b"[]", b"{}", br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#]
        {
            assert!(matches!(Request::parse(malformed), Err(Rejected::Malformed(_))), "{malformed:?}");
        }
        let old = json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": KIND, "request": {"uid": "u"}});
        let Err(Rejected::Unsupported { uid, message }) = Request::parse(old.to_string().as_bytes()) else { panic!() };
        assert_eq!(uid, "u");
        assert!(
            message.contains("admission.k8s.io/v1beta1") && message.contains("admissionReviewVersions"),
            "{message}"
        );
        assert!(matches!(Request::parse(&review(json!({"uid": "u"}))), Err(Rejected::Unsupported { .. })));
    }

    #[test]
    fn answers_are_written_as_the_api_server_reads_them() {
        let patch: Patch = serde_json::from_value(json!([{"op": "add", "path": "/a", "value": 1}])).unwrap();
        let outcome = |decision| Outcome { reason: Reason::PodEnabled, decision, warnings: vec!["w".into()] };
        assert_eq!(
            answer("u", &outcome(Decision::Patch(patch))),
            json!({"apiVersion": API_VERSION, "kind": KIND, "response": {
                "uid": "u", "allowed": true, "patchType": "JSONPatch",
                "patch": "W3sib3AiOiJhZGQiLCJwYXRoIjoiL2EiLCJ2YWx1ZSI6MX1d",
                "warnings": ["outrigger: w"], "auditAnnotations": {"reason": "PodEnabled"}}})
        );
        let mut problems = Problems::default();
        problems.add("a", "bad");
        problems.add("b", "worse");
        let refused = answer("u", &outcome(Decision::Refused(problems)));
        assert_eq!(refused["response"]["allowed"], false);
        assert_eq!(refused["response"]["status"]["message"], "not injected (PodEnabled): a: bad; b: worse");
        let unchanged = answer("u", &outcome(Decision::Unchanged));
        assert_eq!((&unchanged["response"]["allowed"], unchanged["response"].get("patch")), (&json!(true), None));
    }
}
