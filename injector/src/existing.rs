//! Our parts in a Pod: are they there, and taking them out. All that is needed for it stands in the `OUTRIGGER_*`
//! settings of `outrigger-proxy`; the status annotation is never read.

use crate::patch::{Edit, at};
use crate::plan::{probes, unescaped, volumes};
use crate::view::{CONTAINERS, Container, INIT_CONTAINERS, Placed, Pod};
use json_patch::PatchError;
use mesh_config::pod::{DOWNWARD, Probe};
use mesh_config::{Problems, Settings, names, settings};
use serde_json::Value;

/// The setting that holds the application's own probes; a test holds it to the table in `mesh-config`.
const PROBES: &str = "OUTRIGGER_PROBES";

/// A container `outrigger-proxy` that carries one of our settings; one without any is the user's.
pub(crate) fn is_ours(pod: &Pod) -> bool {
    our_proxy(pod).is_some()
}

fn our_proxy(pod: &Pod) -> Option<Placed<'_>> {
    let known = |name: &str| DOWNWARD.iter().chain(&settings::KEYS).any(|(key, _)| *key == name);
    pod.spec.all_containers().find(|at| {
        at.container.name == names::CONTAINER_PROXY && at.container.env.iter().any(|variable| known(&variable.name))
    })
}

/// The application's own probes, from the setting that travelled with the proxy.
pub(crate) fn original_probes(pod: &Pod) -> Result<Vec<Probe>, Problems> {
    let Some(proxy) = our_proxy(pod) else { return Ok(Vec::new()) };
    let text = proxy.container.env.iter().find(|variable| variable.name == PROBES).and_then(|v| v.value.as_deref());
    let read = Settings::from_env(|key| text.filter(|_| key == PROBES).map(unescaped));
    read.map(|settings| settings.probes).map_err(|problems| {
        let mut named = Problems::default();
        named.add(
            format!("{}.env[{PROBES}]", proxy.path()),
            format!("the application's own probes can't be read from it; restore them by hand and remove outrigger-proxy ({problems})"),
        );
        named
    })
}

/// Takes everything of ours out of a Pod of which [`is_ours`] holds: `pod` is the view of `edit`'s document.
pub(crate) fn take_out(edit: &mut Edit, pod: &Pod, original: &[Probe]) -> Result<(), PatchError> {
    for place in pod.spec.all_containers() {
        for probe in original.iter().filter(|probe| probe.container == place.container.name) {
            restore(edit, place, probe)?;
        }
    }
    let ours =
        |container: &Container| [names::CONTAINER_INIT, names::CONTAINER_PROXY].contains(&container.name.as_str());
    // from the back, so that the places in front stay what they are
    for (list, containers) in [(CONTAINERS, &pod.spec.containers), (INIT_CONTAINERS, &pod.spec.init_containers)] {
        for index in (0..containers.len()).rev().filter(|index| ours(&containers[*index])) {
            edit.remove(at(&["spec".into(), list.into(), index.into()]))?;
        }
        edit.remove_if_empty(at(&["spec".into(), list.into()]))?;
    }
    for index in (0..pod.spec.volumes.len()).rev().filter(|index| volumes::is_ours(&pod.spec.volumes[*index].name)) {
        edit.remove(at(&["spec".into(), "volumes".into(), index.into()]))?;
    }
    edit.remove_if_empty(at(&["spec".into(), "volumes".into()]))?;
    for (map, key) in [("labels", names::LABEL_PROXY), ("annotations", names::ANNOTATION_STATUS)] {
        edit.remove_if_there(at(&["metadata".into(), map.into(), key.into()]))?;
        edit.remove_if_empty(at(&["metadata".into(), map.into()]))?;
    }
    Ok(())
}

/// Puts the original handler back where ours stands. One that somebody has changed since is left as it is.
fn restore(edit: &mut Edit, place: Placed<'_>, probe: &Probe) -> Result<(), PatchError> {
    let path = probes::path(place, probe.kind);
    let ours = path.with_trailing_token("httpGet");
    if edit.document().pointer(ours.as_str()).is_none_or(|standing| !probes::is_rewritten(standing, probe)) {
        return Ok(());
    }
    let Value::Object(original) = &probe.handler else { return Ok(()) };
    edit.remove(ours)?;
    for (kind, handler) in original {
        edit.add(path.with_trailing_token(kind), handler.clone())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    fn pod(env: Value) -> Pod {
        Pod::deserialize(&json!({"spec": {"containers": [{"name": "outrigger-proxy", "env": env}]}})).unwrap()
    }

    #[test]
    fn only_a_proxy_with_our_settings_is_ours() {
        assert!(is_ours(&pod(json!([{"name": "A"}, {"name": "OUTRIGGER_POD_UID", "valueFrom": {}}]))));
        assert!(is_ours(&pod(json!([{"name": "OUTRIGGER_LOG_LEVEL", "value": "info"}]))));
        assert!(!is_ours(&pod(json!([{"name": "OUTRIGGER_SOMETHING", "value": "x"}]))));
        assert!(!is_ours(&pod(json!([]))));
    }

    #[test]
    fn probes_that_cannot_be_read_are_a_problem_and_none_at_all_are_not() {
        assert!(settings::KEYS.iter().any(|(key, _)| *key == PROBES));
        assert_eq!(original_probes(&pod(json!([{"name": "OUTRIGGER_POD_UID"}]))), Ok(vec![]));
        let broken = original_probes(&pod(json!([{"name": PROBES, "value": "{"}]))).unwrap_err().to_string();
        assert!(broken.starts_with("spec.containers[outrigger-proxy].env[OUTRIGGER_PROBES]: "), "{broken}");
    }
}
