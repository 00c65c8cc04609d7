//! The operator's only writes: the ConfigMap of a namespace, its deletion, the status of a policy.
//!
//! All by server-side apply with `force`: what a document or a status says is ours alone, and whoever else wrote it has
//! lost. A request that gets no answer is a failure after `DEADLINE`.

use crate::index::Key;
use crate::plan::{ANNOTATION_HASH, LABEL_MANAGED_BY, MANAGED_BY};
use crds::{MeshPolicy, MeshPolicyStatus};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Preconditions};
use kube::{Api, Client, Resource};
use mesh_config::names;
use mesh_kube::apply::{self, ApplyError};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

/// The name under which the API server knows our fields.
pub const FIELD_MANAGER: &str = "outrigger-operator";
/// The API server's own webhooks may take this long.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why something wasn't written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The object, or its namespace, is gone or going: there is nothing to do any more.
    #[error("gone: {0}")]
    Gone(String),
    #[error("{0}")]
    Failed(String),
}

/// Writes a namespace's document.
pub async fn document(client: Client, namespace: &str, json: &str, hash: &str) -> Result<(), WriteError> {
    let api = Api::<ConfigMap>::namespaced(client, namespace);
    let value = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names::CONFIGMAP_PROXY,
            "namespace": namespace,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY},
            "annotations": {ANNOTATION_HASH: hash},
        },
        "data": {names::KEY_PROXY_V1: json},
    });
    let written = apply::server_side_apply(&api, names::CONFIGMAP_PROXY, FIELD_MANAGER, &value, true);
    in_time(written).await
}

/// Deletes a namespace's document, if it still is the one that was seen.
pub async fn delete(client: Client, namespace: &str, seen: Preconditions) -> Result<(), WriteError> {
    let api = Api::<ConfigMap>::namespaced(client, namespace);
    let params = DeleteParams::default().preconditions(seen);
    match timeout(DEADLINE, api.delete(names::CONFIGMAP_PROXY, &params)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(WriteError::Gone(status.message)),
        // no longer the one that was seen: the watch tells what is there now, and that is judged anew
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(WriteError::Gone(status.message)),
        Ok(Err(error)) => Err(WriteError::Failed(error.to_string())),
        Err(_) => Err(no_answer()),
    }
}

/// Writes a policy's status; `uid` keeps it from a new policy of the same name.
pub async fn status(client: Client, policy: &Key, uid: &str, status: &MeshPolicyStatus) -> Result<(), WriteError> {
    let resource = ApiResource::erase::<MeshPolicy>(&());
    let api = Api::<DynamicObject>::namespaced_with(client, &policy.namespace, &resource);
    let mut metadata = json!({"name": policy.name, "namespace": policy.namespace});
    if !uid.is_empty() {
        metadata["uid"] = uid.into();
    }
    let value = json!({
        "apiVersion": MeshPolicy::api_version(&()),
        "kind": MeshPolicy::kind(&()),
        "metadata": metadata,
        "status": status,
    });
    match in_time(apply::status(&api, &policy.name, FIELD_MANAGER, &value, true)).await {
        // with force, only another uid is a conflict
        Err(WriteError::Failed(message)) if message.contains("HTTP 409") => Err(WriteError::Gone(message)),
        result => result,
    }
}

async fn in_time<T>(write: impl Future<Output = Result<T, ApplyError>>) -> Result<(), WriteError> {
    match timeout(DEADLINE, write).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.is_not_found() || is_terminating(&error) => Err(WriteError::Gone(error.to_string())),
        Ok(Err(error)) => Err(WriteError::Failed(error.to_string())),
        Err(_) => Err(no_answer()),
    }
}

/// The API server refuses new objects there with 403 and this sentence (its NamespaceLifecycle admission).
fn is_terminating(error: &ApplyError) -> bool {
    error.code == Some(403) && error.reason.contains("is being terminated")
}

fn no_answer() -> WriteError {
    WriteError::Failed(format!("the API server gave no answer within {} s", DEADLINE.as_secs()))
}
