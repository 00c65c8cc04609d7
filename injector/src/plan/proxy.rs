//! `outrigger-proxy`: a native sidecar, that is an init container with `restartPolicy: Always` (Kubernetes 1.29).

use super::{env, no_api_token, volumes};
use mesh_config::{Mesh, Settings, names, pod};
use serde_json::{Value, json};

/// The whole container.
pub(super) fn container(settings: &Settings, mesh: &Mesh, resources: Value) -> Value {
    let who = pod::DOWNWARD.iter().map(
        |(name, field)| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": field}}}),
    );
    let mut mounts = volumes::mounts();
    mounts.push(no_api_token());
    json!({
        "name": names::CONTAINER_PROXY,
        "image": mesh.images.proxy,
        "imagePullPolicy": mesh.images.pull_policy,
        "restartPolicy": "Always",
        "env": who.chain(env(settings.to_env())).collect::<Vec<_>>(),
        // the application waits for this one: ten minutes for a configuration that arrives late, asked every second
        "startupProbe": probe("/healthz/ready", json!({"periodSeconds": 1, "failureThreshold": 600})),
        "readinessProbe": probe("/healthz/ready", json!({"periodSeconds": 5})),
        "livenessProbe": probe("/healthz", json!({"initialDelaySeconds": 30, "periodSeconds": 10})),
        "lifecycle": {"preStop": {"exec": {"command": ["/outrigger-proxy", "drain"]}}},
        "resources": resources,
        "securityContext": {
            "runAsUser": names::PROXY_UID,
            "runAsGroup": names::PROXY_GID,
            "runAsNonRoot": true,
            "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    })
}

fn probe(path: &str, mut timing: Value) -> Value {
    timing["httpGet"] = json!({"path": path, "port": names::PORT_HEALTH, "scheme": "HTTP"});
    timing
}
