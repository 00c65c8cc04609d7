//! The table of `testdata/policies` (its README says what the annotations mean), judged by the schema's CEL rules and
//! by our own check; and the examples that people copy.

use super::*;
use crate::schema::crd;
use kube::core::cel::{CompiledSchema, ValidationError, Validator, compile_schema};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

struct Case {
    raw: Value,
    name: String,
    /// Who refuses it, at which path, with which words; `None`: nobody.
    refused: Option<(String, String, String)>,
}

/// Every document of every YAML file of a folder.
fn documents(folder: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let yaml = files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    yaml.flat_map(|file| -> Vec<Value> {
        let text = std::fs::read_to_string(file).unwrap();
        serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    })
    .collect()
}

fn cases() -> Vec<Case> {
    let case = |raw: Value| {
        let note = |key: &str| {
            let notes = &raw["metadata"]["annotations"];
            notes[format!("test.outrigger.dev/{key}")].as_str().map(str::to_owned)
        };
        Case {
            name: note("case").expect("every document has its sentence"),
            refused: note("refused-by").map(|by| (by, note("path").unwrap(), note("message").unwrap())),
            raw,
        }
    };
    documents("testdata/policies").into_iter().map(case).collect()
}

fn schema() -> CompiledSchema {
    let schema = crd().spec.versions.remove(0).schema.unwrap().open_api_v3_schema.unwrap();
    compile_schema(&serde_json::to_value(schema).unwrap())
}

/// A server's rules take a field that is null for absent (RAN); this library doesn't.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let fields = object.iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// What the CEL rules say. Bounds, patterns and unknown fields are nothing to them.
fn cel(schema: &CompiledSchema, raw: &Value) -> Vec<ValidationError> {
    match Validator::new().validate_compiled(schema, &without_nulls(raw), None) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec(),
    }
}

#[test]
fn every_case_has_a_sentence_of_its_own() {
    let mut sentences = BTreeSet::new();
    for case in cases() {
        // "nothing in it" may be said of every section
        let path = case.refused.as_ref().map_or("", |(_, path, _)| path.as_str());
        let section = path.split(['.', '[']).nth(1).unwrap_or_default().to_owned();
        assert!(sentences.insert((section, case.name.clone())), "twice: {}", case.name);
    }
}

#[test]
fn our_check_gives_every_case_its_verdict() {
    for Case { raw, name, refused } in cases() {
        let found = read(&raw).problems;
        match refused {
            None => assert_eq!(found, [], "{name}"),
            Some((_, path, message)) => {
                let [problem] = &found[..] else { panic!("{name}: one fault, but {found:#?}") };
                assert_eq!(problem.path, path, "{name}");
                assert!(problem.message.contains(&message), "{name}: {problem}");
            }
        }
    }
}

#[test]
fn the_cel_rules_give_every_case_its_verdict() {
    let schema = schema();
    for Case { raw, name, refused } in cases() {
        let found = cel(&schema, &raw);
        match refused.as_ref().map(|(by, path, message)| (by.as_str(), path, message)) {
            None | Some(("check", ..)) => assert_eq!(found, [], "{name}"),
            Some(("cel", path, message)) => {
                let hit = found.iter().find(|error| error.message.contains(message));
                let hit = hit.unwrap_or_else(|| panic!("{name}: {found:#?}"));
                // a rule over a map's keys can't name one
                assert!(path.starts_with(&hit.field_path), "{name}: {} for {path}", hit.field_path);
            }
            Some(("schema", ..)) => {}
            Some((other, ..)) => panic!("{name}: nobody is called {other}"),
        }
    }
}

#[test]
fn what_everybody_accepts_is_read_into_the_types_and_checked_there_alike() {
    for Case { raw, name, .. } in cases().into_iter().filter(|case| case.refused.is_none()) {
        let policy: MeshPolicy = serde_json::from_value(raw).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(check(&policy), [], "{name}");
    }
}

#[test]
fn the_examples_are_accepted_by_all_judges() {
    let schema = schema();
    let examples = documents("../manifests/examples");
    let policies: Vec<_> = examples.iter().filter(|object| object["kind"] == "MeshPolicy").collect();
    assert!(policies.len() >= 8, "{}", policies.len());
    for raw in policies {
        let name = &raw["metadata"]["name"];
        let policy: MeshPolicy = serde_json::from_value(raw.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read(raw).problems, [], "{name}");
        assert_eq!(check(&policy), [], "{name}");
        assert_eq!(cel(&schema, raw), [], "{name}");
    }
}

#[test]
fn all_problems_are_found_with_their_paths() {
    let raw = serde_json::json!({
        "metadata": {"name": "a", "namespace": "shop"},
        "spec": {
            "targetRefs": [{"kind": "Service"}, {"kind": "Mesh"}],
            "mode": "Audit",
            "authorization": {"rules": [
                {"name": "A", "action": "Allow", "from": [{}], "to": [{"ports": [0], "paths": [{"value": "x"}]}]},
            ]},
            "routes": [
                {"name": "a", "timeouts": {"request": "1s", "backendRequest": "2s"}},
                {"name": "b", "filters": [], "backendRefs": [{"name": "b", "port": 80, "weight": -1}]},
            ],
            "telemetry": {"accessLog": {"format": "XML", "filter": ""}},
        },
    });
    let mut paths: Vec<_> = read(&raw).problems.into_iter().map(|problem| problem.path).collect();
    paths.sort();
    assert_eq!(
        paths,
        [
            "spec.authorization.rules[0].from[0]",
            "spec.authorization.rules[0].name",
            "spec.authorization.rules[0].to[0].paths[0].value",
            "spec.authorization.rules[0].to[0].ports[0]",
            "spec.mode",
            "spec.routes[0].timeouts.backendRequest",
            "spec.routes[1].backendRefs[0].weight",
            "spec.routes[1].filters",
            "spec.targetRefs[0].name",
            "spec.targetRefs[1].kind",
            "spec.telemetry.accessLog.filter",
            "spec.telemetry.accessLog.format",
        ]
    );
}

#[test]
fn a_policy_that_was_built_is_checked_as_one_that_was_read() {
    let raw = serde_json::json!({
        "apiVersion": "outrigger.dev/v1alpha1", "kind": "MeshPolicy", "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"targetRefs": [{"kind": "Namespace", "name": "other"}], "authorization": {"default": "Deny"}},
    });
    let policy: MeshPolicy = serde_json::from_value(raw).unwrap();
    let paths: Vec<_> = check(&policy).into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["spec.targetRefs[0].name"]);
}

#[test]
fn label_keys_are_those_of_kubernetes() {
    for (key, fine) in [
        ("app", true),
        ("app.kubernetes.io/name", true),
        ("A_b-c.d", true),
        ("", false),
        ("-app", false),
        ("a/b/c", false),
        ("/app", false),
        ("Example.com/app", false),
        ("example.com/", false),
    ] {
        assert_eq!(is_label_key(key), fine, "{key}");
    }
    assert!(is_label_key(&"a".repeat(63)) && !is_label_key(&"a".repeat(64)));
}
