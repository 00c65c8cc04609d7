//! The application's probes and hooks that go over the network: the kubelet asks the proxy, and the proxy asks the
//! application from inside the Pod. Asked directly, the kubelet would meet capture, and with mTLS be refused.
//!
//! Timings stay where they are. `exec` and `sleep` need no network and are left alone, as are `tcpSocket` hooks, which
//! Kubernetes never ran.

use crate::patch::{Edit, at};
use crate::view::{Container, Placed, Spec};
use json_patch::PatchError;
use json_patch::jsonptr::PointerBuf;
use mesh_config::names;
use mesh_config::pod::{Probe, ProbeKind};
use serde_json::{Value, json};

/// One probe to be taken over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rewrite {
    /// Of the probe or hook in the Pod without our parts.
    path: PointerBuf,
    /// The handler's field, such as `tcpSocket`.
    handler: &'static str,
    pub probe: Probe,
}

/// All that are taken over, of all containers that may have probes.
pub(super) fn collect(spec: &Spec) -> Vec<Rewrite> {
    let places = spec.lasting_containers();
    places.flat_map(|place| ProbeKind::ALL.into_iter().filter_map(move |kind| rewrite(place, kind))).collect()
}

fn rewrite(place: Placed<'_>, kind: ProbeKind) -> Option<Rewrite> {
    let standing = field(place.container, kind)?;
    let handlers: &[&'static str] = if kind.is_hook() { &["httpGet"] } else { &["httpGet", "tcpSocket", "grpc"] };
    let (name, handler) = handlers
        .iter()
        .find_map(|name| standing.get(name).filter(|handler| handler.is_object()).map(|h| (*name, h)))?;
    // a probe of our own ports is no application's; rewritten it would ask itself
    let port = handler.get("port").and_then(Value::as_u64);
    if names::OWN_PORTS.iter().any(|own| port == Some(u64::from(*own))) {
        return None;
    }
    let timeout = standing.get("timeoutSeconds").and_then(Value::as_u64).and_then(|seconds| seconds.try_into().ok());
    let probe = Probe {
        container: place.container.name.clone(),
        kind,
        timeout_seconds: timeout.filter(|seconds| *seconds > 0).unwrap_or(1),
        handler: json!({name: handler}),
    };
    Some(Rewrite { path: path(place, kind), handler: name, probe })
}

fn field(container: &Container, kind: ProbeKind) -> Option<&Value> {
    match kind {
        ProbeKind::StartupProbe => container.startup_probe.as_ref(),
        ProbeKind::ReadinessProbe => container.readiness_probe.as_ref(),
        ProbeKind::LivenessProbe => container.liveness_probe.as_ref(),
        ProbeKind::PostStart => container.lifecycle.post_start.as_ref(),
        ProbeKind::PreStop => container.lifecycle.pre_stop.as_ref(),
    }
}

/// Where a probe or hook stands in the Pod.
pub(crate) fn path(place: Placed<'_>, kind: ProbeKind) -> PointerBuf {
    let container = at(&["spec".into(), place.list.into(), place.index.into()]);
    let parent = if kind.is_hook() { container.with_trailing_token("lifecycle") } else { container };
    parent.with_trailing_token(kind.field())
}

/// Is this `httpGet` the one that the kubelet was given instead of this probe?
pub(crate) fn is_rewritten(http_get: &Value, probe: &Probe) -> bool {
    http_get["port"] == names::PORT_METRICS && http_get["path"] == probe.path()
}

impl Rewrite {
    pub(super) fn apply(&self, edit: &mut Edit) -> Result<(), PatchError> {
        edit.remove(self.path.with_trailing_token(self.handler))?;
        let ours = json!({"path": self.probe.path(), "port": names::PORT_METRICS, "scheme": "HTTP"});
        edit.add(self.path.with_trailing_token("httpGet"), ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    fn collected(spec: &Value) -> Vec<(String, Value, u32)> {
        let rewrites = collect(&Spec::deserialize(spec).unwrap());
        rewrites.into_iter().map(|r| (r.path.to_string(), r.probe.handler, r.probe.timeout_seconds)).collect()
    }

    #[test]
    fn network_probes_of_lasting_containers_are_taken_over() {
        let http = json!({"port": "http"});
        let spec = json!({
            "containers": [{
                "name": "web",
                "livenessProbe": {"httpGet": http, "timeoutSeconds": 3},
                "readinessProbe": {"tcpSocket": {"port": 80}, "timeoutSeconds": 0},
                "startupProbe": {"grpc": {"port": 80}},
                "lifecycle": {"preStop": {"httpGet": http}, "postStart": {"tcpSocket": {"port": 80}}},
            }],
            "initContainers": [
                {"name": "once", "livenessProbe": {"httpGet": http}},
                {"name": "side", "restartPolicy": "Always", "livenessProbe": {"httpGet": http}}],
        });
        assert_eq!(
            collected(&spec),
            [
                ("/spec/containers/0/startupProbe".into(), json!({"grpc": {"port": 80}}), 1),
                ("/spec/containers/0/readinessProbe".into(), json!({"tcpSocket": {"port": 80}}), 1),
                ("/spec/containers/0/livenessProbe".into(), json!({"httpGet": http}), 3),
                ("/spec/containers/0/lifecycle/preStop".into(), json!({"httpGet": http}), 1),
                ("/spec/initContainers/1/livenessProbe".into(), json!({"httpGet": http}), 1),
            ]
        );
    }

    #[test]
    fn exec_sleep_and_probes_of_our_own_ports_are_left_alone() {
        let spec = json!({"containers": [{
            "name": "web",
            "livenessProbe": {"exec": {"command": ["true"]}},
            "readinessProbe": {"httpGet": {"port": 15020, "path": "/app-probe/web/readinessProbe"}},
            "lifecycle": {"preStop": {"sleep": {"seconds": 5}}, "postStart": {"exec": {"command": ["true"]}}},
        }]});
        assert_eq!(collected(&spec), []);
    }
}
