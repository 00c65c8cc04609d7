//! What is put into a Pod: the two containers, their volumes, the rewritten probes, a label and an annotation. Pure,
//! and a function of the Pod as its author wrote it, so that planning again gives the same.
//!
//! This shape can't change later without restarting every meshed Pod.

use crate::patch::{Edit, at};
use crate::settings::Merged;
use crate::view::{INIT_CONTAINERS, Pod};
use json_patch::PatchError;
use mesh_config::{Mesh, names};
use resources::Budget;
use serde_json::{Value, json};

mod init;
pub(crate) mod probes;
mod proxy;
mod resources;
pub(crate) mod volumes;

/// Everything that injection adds or changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    init: Value,
    proxy: Value,
    volumes: Vec<Value>,
    rewrites: Vec<probes::Rewrite>,
}

impl Plan {
    /// `pod` is without our parts.
    pub fn new(pod: &Pod, merged: Merged, mesh: &Mesh, warnings: &mut Vec<String>) -> Self {
        let rewrites = probes::collect(&pod.spec);
        let Merged { mut settings, resources } = merged;
        settings.probes = rewrites.iter().map(|rewrite| rewrite.probe.clone()).collect();
        let budget = Budget::of(&pod.spec);
        let mut init = init::container(&settings, mesh, budget.requirements(&mesh.init.resources));
        let mut proxy = proxy::container(&settings, mesh, budget.requirements(&resources));
        warnings.extend(budget.warning(names::CONTAINER_INIT, &mesh.init.resources));
        warnings.extend(budget.warning(names::CONTAINER_PROXY, &resources));
        for container in [&mut init, &mut proxy] {
            override_app_armor(container, pod);
        }
        Plan { init, proxy, volumes: volumes::all(), rewrites }
    }

    /// Makes it true of a Pod that is without our parts. Probes come first, since they are found by their place.
    pub fn put_in(&self, edit: &mut Edit) -> Result<(), PatchError> {
        for (map, key, value) in [
            ("labels", names::LABEL_PROXY, names::VERSION.to_owned()),
            ("annotations", names::ANNOTATION_STATUS, self.status()),
        ] {
            edit.ensure(at(&["metadata".into()]), json!({}))?;
            edit.ensure(at(&["metadata".into(), map.into()]), json!({}))?;
            edit.add(at(&["metadata".into(), map.into(), key.into()]), value.into())?;
        }
        for rewrite in &self.rewrites {
            rewrite.apply(edit)?;
        }
        edit.ensure(at(&["spec".into(), INIT_CONTAINERS.into()]), json!([]))?;
        for (index, container) in [&self.init, &self.proxy].into_iter().enumerate() {
            edit.add(at(&["spec".into(), INIT_CONTAINERS.into(), index.into()]), container.clone())?;
        }
        edit.ensure(at(&["spec".into(), "volumes".into()]), json!([]))?;
        for volume in &self.volumes {
            edit.add(at(&["spec".into(), "volumes".into(), "-".into()]), volume.clone())?;
        }
        Ok(())
    }

    /// For people: which version injected, and whether two Pods got the same.
    fn status(&self) -> String {
        let injected = json!([self.init, self.proxy, self.volumes]).to_string();
        json!({"version": names::VERSION, "hash": mesh_config::hash(injected.as_bytes())}).to_string()
    }
}

/// A small file system in memory that holds nothing, where Kubernetes would put the API token. Without it the
/// ServiceAccount admission plugin, which runs again after us, would mount the token into our containers, and change
/// the Pod so that every Pod is sent to us twice.
fn no_api_token() -> Value {
    json!({"name": volumes::EMPTY, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true})
}

/// Environment variables in the form that containers write them.
fn env(variables: impl IntoIterator<Item = (&'static str, String)>) -> Vec<Value> {
    variables.into_iter().map(|(name, value)| json!({"name": name, "value": escaped(&value)})).collect()
}

/// The kubelet puts other variables in for `$(NAME)`, and takes `$$` for `$` (Kubernetes docs, "Define Dependent
/// Environment Variables"). A probe's path may hold either.
fn escaped(value: &str) -> String {
    value.replace('$', "$$")
}

/// The other way round: what the container will see.
pub(crate) fn unescaped(value: &str) -> String {
    value.replace("$$", "$")
}

/// A Pod may confine its containers with an AppArmor profile that was written for the application. Said only then: a
/// node without AppArmor refuses a container that names any.
fn override_app_armor(container: &mut Value, pod: &Pod) {
    if pod.spec.security_context.app_armor_profile.is_some() {
        container["securityContext"]["appArmorProfile"] = json!({"type": "RuntimeDefault"});
    }
}
