//! `mesh.yaml`: of it the operator wants to know which namespaces are excluded. A bad one never replaces a good one.

use super::Reconciler;
use mesh_config::Mesh;

impl Reconciler {
    pub(super) fn take_mesh(&mut self, yaml: &str) {
        match Mesh::parse(yaml) {
            Ok(mesh) => {
                self.index.set_excluded(mesh.excluded_namespaces);
                self.mesh_known = true;
                self.metrics.mesh_valid(true);
            }
            Err(problems) => {
                let kept = self.mesh_known;
                tracing::error!(%problems, kept, "mesh.yaml of ConfigMap outrigger-mesh is bad");
                self.metrics.mesh_valid(false);
            }
        }
    }

    /// The first list is whole: a mesh without `mesh.yaml` is one of defaults.
    pub(super) fn mesh_listed(&mut self) {
        if !self.mesh_known && self.lists.get(&crate::watch::Source::Mesh).is_some_and(crate::watch::Relist::is_empty) {
            self.take_mesh("");
        }
    }

    /// Later it is taken for a mistake: what was excluded stays so.
    pub(super) fn mesh_gone(&mut self) {
        tracing::error!("ConfigMap outrigger-mesh is gone; what it said last is kept. Apply it again");
        self.metrics.mesh_valid(false);
    }
}
