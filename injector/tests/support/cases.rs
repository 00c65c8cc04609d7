//! The cases under `testdata/inject`; their format stands in the README there.

use injector::{Decision, NamespaceView, Outcome, inject};
use mesh_config::Mesh;
use serde_json::Value;
use std::{fs, path::PathBuf};

pub struct Case {
    pub name: String,
    pub dir: PathBuf,
    pub namespace: NamespaceView,
    pub pod: Value,
    pub mesh: Mesh,
}

impl Case {
    pub fn inject(&self, pod: &Value) -> Outcome {
        inject(pod, &self.namespace, &self.mesh).unwrap()
    }
}

/// All of them, by name.
pub fn all() -> Vec<Case> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/inject"));
    let mut dirs: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.retain(|path| path.is_dir());
    dirs.sort();
    dirs.into_iter().map(load).collect()
}

pub fn named(name: &str) -> Case {
    all().into_iter().find(|case| case.name == name).unwrap_or_else(|| panic!("there is no case {name}"))
}

fn load(dir: PathBuf) -> Case {
    let input = fs::read_to_string(dir.join("input.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&input).unwrap();
    let of = |kind: &str| documents.iter().find(|document| document["kind"] == kind);
    let mesh = fs::read_to_string(dir.join("mesh.yaml")).unwrap_or_default();
    Case {
        name: dir.file_name().unwrap().to_str().unwrap().to_owned(),
        namespace: of("Namespace").map(|n| NamespaceView::from_manifest(n).unwrap()).unwrap_or_default(),
        pod: of("Pod").unwrap().clone(),
        mesh: Mesh::parse(&mesh).unwrap(),
        dir,
    }
}

/// The Pod with the decision carried out.
pub fn patched(pod: &Value, outcome: &Outcome) -> Value {
    let mut pod = pod.clone();
    if let Decision::Patch(patch) = &outcome.decision {
        json_patch::patch(&mut pod, patch).unwrap();
    }
    pod
}
