//! `outrigger-init`: writes the redirects, proves them, and ends.

use super::{env, no_api_token};
use mesh_config::{Mesh, Settings, names};
use serde_json::{Value, json};

/// The whole container.
pub(super) fn container(settings: &Settings, mesh: &Mesh, resources: Value) -> Value {
    let mut container = json!({
        "name": names::CONTAINER_INIT,
        "image": mesh.images.init,
        "imagePullPolicy": mesh.images.pull_policy,
        "resources": resources,
        "securityContext": security_context(mesh.init.run_as_root),
        // what it says when it can't apply its rules then stands in the Pod's status
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [no_api_token()],
    });
    let env = env(settings.capture_env());
    if !env.is_empty() {
        container["env"] = env.into();
    }
    container
}

/// Every field that the Pod's own security context could set is said here, and so wins. The binary brings its
/// capability as a file capability; a store that loses extended attributes needs root instead.
fn security_context(run_as_root: bool) -> Value {
    let id = if run_as_root { 0 } else { names::INIT_UID };
    json!({
        "runAsUser": id,
        "runAsGroup": id,
        "runAsNonRoot": !run_as_root,
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_the_fallback_and_says_so_against_a_pod_that_forbids_it() {
        let (ours, root) = (security_context(false), security_context(true));
        assert_eq!((&ours["runAsUser"], &ours["runAsNonRoot"]), (&json!(65534), &json!(true)));
        assert_eq!(
            (&root["runAsUser"], &root["runAsGroup"], &root["runAsNonRoot"]),
            (&json!(0), &json!(0), &json!(false))
        );
        assert_eq!(root["capabilities"], ours["capabilities"]);
    }

    #[test]
    fn it_gets_the_capture_settings_and_no_others() {
        let mut settings = Settings::default();
        settings.proxy.log_level = "debug".into();
        assert_eq!(container(&settings, &Mesh::default(), json!({})).get("env"), None);
        settings.capture.exclude_outbound_ports = "25".parse().unwrap();
        let container = container(&settings, &Mesh::default(), json!({}));
        assert_eq!(container["env"], json!([{"name": "OUTRIGGER_EXCLUDE_OUTBOUND_PORTS", "value": "25"}]));
    }
}
