//! `inject` and `uninject`: the webhook's functions on Pods in files. Other kinds are refused by name for now; nothing is
//! passed over in silence.

use crate::documents;
use anyhow::{Context, Result, bail};
use injector::{Decision, NamespaceView};
use mesh_config::{Mesh, names};
use serde_json::Value;
use std::path::Path;

pub fn inject(file: &Path, namespace_file: Option<&Path>, mesh_file: Option<&Path>) -> Result<bool> {
    let namespace = match namespace_file {
        Some(path) => {
            let documents = documents::parse(&documents::text(path)?)?;
            let [namespace] = documents.as_slice() else { bail!("{} must hold one Namespace", path.display()) };
            NamespaceView::from_manifest(namespace)?
        }
        None => {
            let labels = serde_json::json!({names::LABEL_INJECT: "enabled"});
            NamespaceView::from_manifest(&serde_json::json!({"metadata": {"name": "default", "labels": labels}}))?
        }
    };
    let mesh = match mesh_file {
        Some(path) => Mesh::parse(&documents::text(path)?).with_context(|| path.display().to_string())?,
        None => Mesh::default(),
    };
    each_pod(file, |pod| {
        let outcome = injector::inject(pod, &namespace, &mesh)?;
        for warning in &outcome.warnings {
            eprintln!("warning: {warning}");
        }
        eprintln!("{}: {}", name(pod), outcome.reason);
        Ok(outcome.decision)
    })
}

pub fn uninject(file: &Path) -> Result<bool> {
    each_pod(file, |pod| Ok(injector::uninject(pod)?))
}

fn each_pod(file: &Path, decide: impl Fn(&Value) -> Result<Decision>) -> Result<bool> {
    let mut all_done = true;
    for mut document in documents::parse(&documents::text(file)?)? {
        if document["kind"] != "Pod" {
            bail!("{}: only Pods can be injected from files yet", name(&document));
        }
        match decide(&document)? {
            Decision::Unchanged => {}
            Decision::Patch(patch) => json_patch::patch(&mut document, &patch)?,
            Decision::Refused(problems) => {
                all_done = false;
                for problem in problems.0 {
                    eprintln!("{}: {problem}", name(&document));
                }
                continue;
            }
        }
        println!("{}", serde_json::to_string_pretty(&document)?);
    }
    Ok(all_done)
}

fn name(document: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{}/{}", text(&document["kind"]), text(&document["metadata"]["name"]))
}
