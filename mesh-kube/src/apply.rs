//! Server-side apply, the one way in which we write objects that others may write too.
//!
//! The API server keeps track of who owns which field; what we leave out of a value that we applied before is removed,
//! what others own is left alone. The value must carry `apiVersion`, `kind` and its name (types of k8s-openapi and of
//! kube's derive do) and no `managedFields`.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An object that wasn't written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {object} as {manager}: {reason}")]
pub struct ApplyError {
    /// Its address at the API server, such as `/api/v1/namespaces/shop/configmaps/outrigger-proxy-config`.
    pub object: String,
    /// The field manager.
    pub manager: String,
    /// The HTTP status, where there was an answer.
    pub code: Option<u16>,
    /// What the API server says, or what kept it from answering.
    pub reason: String,
}

impl ApplyError {
    fn new(object: String, manager: &str, error: &kube::Error) -> Self {
        let (code, reason) = explain(error);
        Self { object, manager: manager.to_owned(), code, reason }
    }

    /// Others own fields of it (and `force` wasn't set), or it has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        self.code == Some(409)
    }

    /// Neither it, nor perhaps its namespace, is there.
    pub fn is_not_found(&self) -> bool {
        self.code == Some(404)
    }
}

/// The status code and a sentence, without kube's own prefixes.
pub(crate) fn explain(error: &kube::Error) -> (Option<u16>, String) {
    match error {
        kube::Error::Api(status) => {
            let reason = if status.reason.is_empty() { "no reason given" } else { &status.reason };
            (Some(status.code), format!("{} ({reason}, HTTP {})", status.message, status.code))
        }
        other => (None, other.to_string()),
    }
}

/// Applies the fields of `value` as `manager`. With `force`, fields that others own become ours; without, that is a
/// conflict.
pub async fn server_side_apply<K>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    value: &(impl Serialize + Debug),
    force: bool,
) -> Result<K, ApplyError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let patched = api.patch(name, &params(manager, force), &Patch::Apply(value)).await;
    patched.map_err(|error| ApplyError::new(format!("{}/{name}", api.resource_url()), manager, &error))
}

/// The same for the `status` of an object that must exist. `value` carries `apiVersion`, `kind` and `status`.
pub async fn status<K>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    value: &(impl Serialize + Debug),
    force: bool,
) -> Result<K, ApplyError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let patched = api.patch_status(name, &params(manager, force), &Patch::Apply(value)).await;
    patched.map_err(|error| ApplyError::new(format!("{}/{name}/status", api.resource_url()), manager, &error))
}

fn params(manager: &str, force: bool) -> PatchParams {
    PatchParams { force, ..PatchParams::apply(manager) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;
    use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
    use serde_json::json;

    const PATH: &str = "/api/v1/namespaces/shop/configmaps/outrigger-proxy-config";

    fn document(text: &str) -> serde_json::Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "outrigger-proxy-config"},
               "data": {"proxy.v1.json": text}})
    }

    #[tokio::test]
    async fn a_value_is_applied_under_the_managers_name() {
        let server = FakeApi::new();
        let api = Api::<ConfigMap>::namespaced(server.client(), "shop");
        let name = "outrigger-proxy-config";
        let written = server_side_apply(&api, name, "outrigger-operator", &document("{}"), true).await.unwrap();
        assert_eq!(written.data.unwrap()["proxy.v1.json"], "{}");
        let request = server.requests().pop().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PATCH", PATH));
        assert!(request.query.contains("fieldManager=outrigger-operator"), "{}", request.query);
        assert!(request.query.contains("force=true"), "{}", request.query);
        assert_eq!(request.body, document("{}"));
    }

    #[tokio::test]
    async fn an_error_says_which_object_as_whom_and_what_the_server_said() {
        let server = FakeApi::new();
        server.answer_with(|_| Some((409, "conflict with \"kubectl\": .data.proxy.v1.json")));
        let api = Api::<ConfigMap>::namespaced(server.client(), "shop");
        let name = "outrigger-proxy-config";
        let error = server_side_apply(&api, name, "outrigger-operator", &document("{}"), false).await.unwrap_err();
        assert!(error.is_conflict() && !error.is_not_found());
        assert_eq!(
            error.to_string(),
            format!(
                "cannot write {PATH} as outrigger-operator: \
                 conflict with \"kubectl\": .data.proxy.v1.json (Conflict, HTTP 409)"
            )
        );
        assert!(!server.requests()[0].query.contains("force"));
    }

    #[tokio::test]
    async fn a_status_has_its_own_address() {
        let server = FakeApi::new();
        let api = Api::<Namespace>::all(server.client());
        let value = json!({"apiVersion": "v1", "kind": "Namespace", "status": {"phase": "Active"}});
        let error = status(&api, "shop", "outrigger-operator", &value, true).await.unwrap_err();
        assert!(error.is_not_found(), "a status makes no object: {error}");
        assert_eq!(server.requests()[0].path, "/api/v1/namespaces/shop/status");

        server.put("/api/v1/namespaces/shop", json!({"apiVersion": "v1", "kind": "Namespace"}));
        let written = status(&api, "shop", "outrigger-operator", &value, true).await.unwrap();
        assert_eq!(written.status.unwrap().phase.as_deref(), Some("Active"));
    }
}
