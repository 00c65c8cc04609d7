//! The tables of other crates, judged by a real API server: every policy of `crds/testdata/policies`, every injected Pod of
//! `injector/testdata/inject`. Nothing is created: all of it is a dry run.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy.toml exempts only inside #[test]

use e2e::cluster::{Namespace, try_kubectl};
use injector::{Decision, NamespaceView, Reason};
use mesh_config::Mesh;
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

fn folder(path: &str) -> Vec<PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
    let mut all: Vec<_> = fs::read_dir(format!("{root}{path}")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn the_api_server_gives_every_policy_of_the_table_its_verdict() {
    let namespace = Namespace::labelled("crd", json!({}));
    let path = format!(
        "/apis/outrigger.dev/v1alpha1/namespaces/{}/meshpolicies?dryRun=All&fieldValidation=Strict",
        namespace.name
    );
    let mut judged = 0;
    for file in
        folder("crds/testdata/policies").into_iter().filter(|path| path.extension().is_some_and(|e| e == "yaml"))
    {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(&file).unwrap()).unwrap();
        for mut policy in documents.into_iter().filter(|document| !document.is_null()) {
            policy["metadata"]["namespace"] = namespace.name.clone().into();
            let note = |key: &str| policy["metadata"]["annotations"][format!("test.outrigger.dev/{key}")].as_str();
            let (case, refused_by) = (note("case").unwrap_or("?"), note("refused-by"));
            let outcome = try_kubectl(&["create", "--raw", &path, "-f", "-"], &policy.to_string());
            let said = format!("{}: {case}: {}{}", file.display(), outcome.out, outcome.err);
            assert_eq!(outcome.ok, matches!(refused_by, None | Some("check")), "{said}");
            if refused_by == Some("cel") {
                assert!(said.contains(note("message").unwrap()), "the message is missing: {said}");
            }
            judged += 1;
        }
    }
    assert!(judged >= 100, "only {judged} policies");
}

#[test]
fn the_api_server_accepts_every_injected_pod_and_injecting_it_again_changes_nothing() {
    // unlabelled, so that no webhook touches what is sent, but for Pods that opt in
    let namespace = Namespace::labelled("goldens", json!({}));
    let mut accepted = 0;
    for case in folder("injector/testdata/inject").into_iter().filter(|path| path.is_dir()) {
        let Ok(patched) = fs::read_to_string(case.join("patched.yaml")) else { continue };
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let mut pod: Value = serde_saphyr::from_str(&patched).unwrap();
        pod["metadata"]["namespace"] = namespace.name.clone().into();
        // names that only the case's own cluster has
        for key in ["serviceAccountName", "serviceAccount", "priorityClassName", "runtimeClassName", "nodeName"] {
            pod["spec"].as_object_mut().unwrap().remove(key);
        }
        let args = ["create", "--dry-run=server", "--validate=ignore", "-o", "json", "-f", "-"];
        let outcome = try_kubectl(&args, &pod.to_string());
        assert!(outcome.ok, "{name}: {}", outcome.err);
        let returned: Value = serde_json::from_str(&outcome.out).unwrap();

        let input = fs::read_to_string(case.join("input.yaml")).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&input).unwrap();
        let manifest = documents.iter().find(|document| document["kind"] == "Namespace");
        let view = match manifest {
            Some(manifest) => NamespaceView::from_manifest(manifest).unwrap(),
            None => NamespaceView::named("default"),
        };
        let mesh = match fs::read_to_string(case.join("mesh.yaml")) {
            Ok(text) => Mesh::parse(&text).unwrap(),
            Err(_) => Mesh::default(),
        };
        let again = injector::inject(&returned, &view, &mesh).unwrap();
        assert_eq!(
            (again.reason, again.decision),
            (Reason::AlreadyInjected, Decision::Unchanged),
            "{name}: {returned}"
        );
        accepted += 1;
    }
    assert!(accepted >= 10, "only {accepted} Pods");
}
