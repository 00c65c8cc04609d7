//! What in a Pod can't go together with our parts (problems, all of them at once), and what probably won't (warnings).

use crate::plan::volumes;
use crate::view::{NamespaceView, Pod};
use mesh_config::capture::Mode;
use mesh_config::{Problems, Settings, names};

/// The label with which a namespace chooses its Pod Security level.
const LABEL_POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";

/// `pod` is without our parts.
pub(crate) fn problems(pod: &Pod, problems: &mut Problems) {
    const UID: i64 = names::PROXY_UID as i64;
    const OUR_UID: &str = "1337 is the proxy's own user, whose connections bypass capture; choose another user";
    let spec = &pod.spec;
    let mut inherited = false;
    for place in spec.all_containers() {
        let taken = match place.container.name.as_str() {
            names::CONTAINER_INIT => Some("the name is that of Outrigger's init container; rename it"),
            names::CONTAINER_PROXY => {
                Some("the name is that of Outrigger's sidecar, and this container has none of its settings; rename it")
            }
            _ => None,
        };
        if let Some(taken) = taken {
            problems.add(place.path(), taken);
        }
        match place.container.security_context.run_as_user {
            Some(UID) => problems.add(format!("{}.securityContext.runAsUser", place.path()), OUR_UID),
            None => inherited = true,
            Some(_) => {}
        }
    }
    if inherited && spec.security_context.run_as_user == Some(UID) {
        problems.add("spec.securityContext.runAsUser", OUR_UID);
    }
    for volume in spec.volumes.iter().filter(|volume| volumes::is_ours(&volume.name)) {
        problems
            .add(format!("spec.volumes[{}]", volume.name), "the name is that of a volume of Outrigger's; rename it");
    }
}

/// Each at most 120 characters with what the response puts before it, as long as names aren't long; the API server cuts
/// them at 256.
pub(crate) fn warnings(namespace: &NamespaceView, settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    for port in settings.ports.iter().filter(|port| port.is_tcp() && names::OWN_PORTS.contains(&port.port)) {
        let container = &port.container;
        warnings
            .push(format!("container {container}: port {} is one of outrigger-proxy's own; use another", port.port));
    }
    if let Some(level) = namespace.labels.get(LABEL_POD_SECURITY).filter(|level| *level != "privileged")
        && settings.capture.mode != Mode::None
    {
        warnings.push(format!(
            "Pod Security level '{level}' of the namespace will refuse this Pod: outrigger-init needs NET_ADMIN"
        ));
        warnings.push(format!(
            "ways out: namespace label {LABEL_POD_SECURITY}=privileged, or {}=disabled",
            names::LABEL_INJECT
        ));
    }
    if namespace.annotations.contains_key(names::LABEL_INJECT) {
        warnings.push("outrigger.dev/inject on a namespace is a label; as an annotation it has no effect".into());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    fn found(spec: Value) -> Vec<String> {
        let mut found = Problems::default();
        problems(&Pod::deserialize(&json!({ "spec": spec })).unwrap(), &mut found);
        found.0.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn all_that_clashes_is_named() {
        let as_proxy = json!({"runAsUser": 1337});
        assert_eq!(
            found(json!({
                "initContainers": [{"name": "outrigger-init"}, {"name": "setup", "securityContext": as_proxy}],
                "containers": [{"name": "outrigger-proxy"}, {"name": "web", "securityContext": as_proxy}],
                "volumes": [{"name": "data"}, {"name": "outrigger-state"}],
            })),
            [
                "spec.initContainers[outrigger-init]",
                "spec.initContainers[setup].securityContext.runAsUser",
                "spec.containers[outrigger-proxy]",
                "spec.containers[web].securityContext.runAsUser",
                "spec.volumes[outrigger-state]",
            ]
        );
    }

    #[test]
    fn the_pods_own_user_counts_for_containers_that_say_none() {
        let spec = |user: Value| json!({"securityContext": {"runAsUser": 1337}, "containers": [{"name": "web", "securityContext": user}]});
        assert_eq!(found(spec(json!(null))), ["spec.securityContext.runAsUser"]);
        assert_eq!(found(spec(json!({"runAsUser": 0}))), Vec::<String>::new());
    }

    #[test]
    fn a_pod_security_level_that_forbids_net_admin_is_said_with_the_ways_out() {
        let warned = |level: &str| {
            let labels = [(LABEL_POD_SECURITY.to_owned(), level.to_owned())].into();
            let namespace = NamespaceView { labels, ..NamespaceView::named("shop") };
            warnings(&namespace, &Settings::default())
        };
        assert_eq!(warned("privileged"), Vec::<String>::new());
        assert_eq!(
            warned("restricted"),
            [
                "Pod Security level 'restricted' of the namespace will refuse this Pod: outrigger-init needs NET_ADMIN",
                "ways out: namespace label pod-security.kubernetes.io/enforce=privileged, or outrigger.dev/inject=disabled",
            ]
        );
    }
}
