//! The volumes that `outrigger-proxy` needs. In memory or read-only all of them, so that the cluster autoscaler still
//! evicts the Pod.

use mesh_config::names;
use serde_json::{Value, json};

const CONFIG: &str = "outrigger-config";
const TRUST: &str = "outrigger-trust";
const TOKEN: &str = "outrigger-token";
const POD: &str = "outrigger-pod";
const STATE: &str = "outrigger-state";
/// Holds nothing.
pub(crate) const EMPTY: &str = "outrigger-empty";

/// The names that no volume of the user's may have.
const NAMES: [&str; 6] = [CONFIG, TRUST, TOKEN, POD, STATE, EMPTY];

/// Readable for the proxy's uid, whoever the kubelet makes their owner; they are mounted nowhere else.
const MODE: u32 = 0o444;

pub(crate) fn is_ours(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(super) fn all() -> Vec<Value> {
    vec![
        // required: a late optional one shows up only after a minute, and a deleted one would empty the mount
        json!({"name": CONFIG, "configMap": {"name": names::CONFIGMAP_PROXY, "defaultMode": MODE}}),
        // optional until there are identities
        json!({"name": TRUST, "configMap": {"name": names::CONFIGMAP_TRUST, "defaultMode": MODE, "optional": true}}),
        json!({"name": TOKEN, "projected": {"defaultMode": MODE, "sources": [{"serviceAccountToken": {
            "audience": names::TOKEN_AUDIENCE, "expirationSeconds": 3600, "path": "token"}}]}}),
        json!({"name": POD, "downwardAPI": {"defaultMode": MODE, "items": [{
            "path": "labels", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels"}}]}}),
        // twice the largest document, since it is replaced by renaming
        json!({"name": STATE, "emptyDir": {"medium": "Memory", "sizeLimit": "2Mi"}}),
        json!({"name": EMPTY, "emptyDir": {"medium": "Memory", "sizeLimit": "64Ki"}}),
    ]
}

/// Whole directories, never `subPath`: a file mounted that way is never updated.
pub(super) fn mounts() -> Vec<Value> {
    let read_only = |name, path| json!({"name": name, "mountPath": path, "readOnly": true});
    vec![
        read_only(CONFIG, names::PATH_CONFIG),
        read_only(TRUST, names::PATH_TRUST),
        read_only(TOKEN, names::PATH_TOKEN),
        read_only(POD, names::PATH_POD),
        json!({"name": STATE, "mountPath": names::PATH_STATE}),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_volumes() {
        let all = all();
        assert_eq!(all.iter().map(|volume| volume["name"].as_str().unwrap()).collect::<Vec<_>>(), NAMES);
    }
}
