//! What only the node can do: stop a Pod's proxy with a signal that it can't refuse. A privileged Pod with the node's
//! process namespace does it, so the tests need no way into the node but the API server.

use super::{Namespace, eventually};
use serde_json::json;
use std::time::Duration;

/// Sends a signal (`STOP`, `CONT`, `KILL`) to the proxy of a Pod.
pub fn signal_proxy(namespace: &Namespace, pod: &str, signal: &str) {
    let uid = namespace.get("pod", pod)["metadata"]["uid"].as_str().expect("a Pod has a uid").to_owned();
    // the settings carry the Pod's uid; the program's name tells it from the application
    let script = format!(
        "for p in /proc/[0-9]*; do \
           grep -qs 'OUTRIGGER_POD_UID={uid}' $p/environ || continue; \
           [ \"$(cat $p/comm)\" = outrigger-proxy ] || continue; \
           kill -{signal} ${{p#/proc/}} && echo signalled && exit 0; \
         done; echo 'no proxy with uid {uid}'; exit 1"
    );
    let host = Namespace::labelled("host", json!({"pod-security.kubernetes.io/enforce": "privileged"}));
    host.apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "signal", "labels": {"app": "signal"}},
        "spec": {
            "hostPID": true, "restartPolicy": "Never",
            "containers": [{
                "name": "sh", "image": "localhost/busybox:1", "imagePullPolicy": "Never",
                "command": ["/bin/busybox", "sh", "-c", script], "securityContext": {"privileged": true},
            }],
        },
    }));
    eventually(&format!("the proxy of {pod} got SIG{signal}"), Duration::from_secs(60), || {
        match host.get("pod", "signal")["status"]["phase"].as_str() {
            Some("Succeeded") => Ok(()),
            Some("Failed") => panic!("{}", host.kubectl(&["logs", "signal"])),
            phase => Err(format!("{phase:?}")),
        }
    });
}
