//! Goldens: `testdata/compile/<case>/input.yaml` gives `<namespace>.json` for every meshed namespace, and `status.txt`.
//! Refreshed by `UPDATE_GOLDEN=1 cargo test -p operator`, and reviewed as text.

use super::*;
use crate::judge::judge;
use crate::status::{Documents, Outcome, status};
use crate::testing;
use mesh_config::proxy::Valid;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let all = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/compile")).unwrap();
    let mut all: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn same_as_golden(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(golden == text, "{} has drifted: UPDATE_GOLDEN=1 cargo test -p operator\n{text}", path.display());
}

/// What `kubectl get mp -o yaml` would show, as text.
fn statuses(index: &Index) -> String {
    let documents: Vec<_> = index.meshed().collect();
    let hash = |namespace: &str| mesh_config::hash(compile(index, namespace).to_json().as_bytes());
    let written = documents.into_iter().map(|name| (name.to_owned(), Outcome::Written { hash: hash(name) }));
    let documents = Documents(written.collect());
    let mut text = String::new();
    for policy in index.policies() {
        let judgement = judge(index, policy);
        let status = status(index, policy, &judgement, &documents, jiff::Timestamp::UNIX_EPOCH).unwrap();
        let summary = status.summary.unwrap_or_default();
        let hashed = if summary.hash.is_empty() { "" } else { "  (hashed)" };
        writeln!(text, "{}  {}{hashed}", policy.key, summary.target).unwrap();
        for condition in status.conditions.iter().filter(|condition| condition.type_ != "Enforced") {
            let condition =
                [&condition.type_, "=", &condition.status, "/", &condition.reason, ": ", &condition.message];
            writeln!(text, "  {}", condition.concat()).unwrap();
        }
        for conflict in status.conflicts {
            writeln!(text, "  conflict: {} with {}, {} wins", conflict.field, conflict.with, conflict.winner).unwrap();
        }
    }
    text
}

#[test]
fn every_case_compiles_to_its_golden() {
    for case in cases() {
        let index = testing::index(&std::fs::read_to_string(case.join("input.yaml")).unwrap());
        let mut files = vec!["input.yaml".to_owned(), "status.txt".to_owned()];
        for namespace in index.meshed() {
            let document = compile(&index, namespace);
            let json = document.to_json();
            let valid = Valid::from_bytes(json.as_bytes()).unwrap_or_else(|problems| panic!("{problems}\n{json}"));
            assert_eq!((valid.document(), valid.unknown()), (&document, &[][..]));
            files.push(format!("{namespace}.json"));
            same_as_golden(&case.join(format!("{namespace}.json")), &json);
        }
        same_as_golden(&case.join("status.txt"), &statuses(&index));
        let there = std::fs::read_dir(&case).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let stale: Vec<String> = there.filter(|name| !files.contains(name)).collect();
        assert_eq!(stale, Vec::<String>::new(), "in {}: no namespace of that name is meshed", case.display());
    }
}

#[test]
fn the_order_in_which_objects_came_means_nothing() {
    for case in cases() {
        let text = std::fs::read_to_string(case.join("input.yaml")).unwrap();
        let index = testing::index(&text);
        let mut backwards = Index::new(testing::SYSTEM);
        for object in testing::objects(&text).iter().rev() {
            testing::apply(&mut backwards, object);
        }
        for namespace in index.meshed() {
            assert_eq!(compile(&backwards, namespace), compile(&index, namespace), "{}", case.display());
        }
        assert_eq!(statuses(&backwards), statuses(&index));
    }
}
