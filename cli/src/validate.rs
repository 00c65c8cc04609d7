//! `validate`: the checks of the operator and of the proxy, on files. What a document is shows in its fields.

use crate::documents;
use anyhow::Result;
use mesh_config::{Mesh, proxy::Valid};
use serde_json::Value;
use std::path::{Path, PathBuf};

pub fn run(files: &[PathBuf]) -> Result<bool> {
    let mut all_good = true;
    for file in files {
        let problems = check(file)?;
        for problem in &problems {
            println!("{}: {problem}", file.display());
        }
        all_good &= problems.is_empty();
        if problems.is_empty() {
            println!("{}: valid", file.display());
        }
    }
    Ok(all_good)
}

fn check(file: &Path) -> Result<Vec<String>> {
    let text = documents::text(file)?;
    let documents = documents::parse(&text)?;
    if let [document] = documents.as_slice() {
        if document.get("version").is_some() {
            return Ok(match Valid::from_bytes(text.as_bytes()) {
                Ok(valid) => valid.unknown().iter().map(|path| format!("{path}: nobody knows this field")).collect(),
                Err(problems) => lines(problems.0),
            });
        }
        if document.get("kind").is_none() {
            return Ok(Mesh::parse(&text).map_or_else(|problems| lines(problems.0), |_| Vec::new()));
        }
    }
    Ok(documents.iter().flat_map(check_policy).collect())
}

fn check_policy(document: &Value) -> Vec<String> {
    let name = document["metadata"]["name"].as_str().unwrap_or("?");
    if document["kind"] != "MeshPolicy" {
        return vec![format!("{}/{name} is no MeshPolicy", document["kind"].as_str().unwrap_or("?"))];
    }
    let problems = crds::read(document).problems;
    problems.into_iter().map(|problem| format!("MeshPolicy/{name}: {}", mesh_config::Problem::from(problem))).collect()
}

fn lines(problems: Vec<mesh_config::Problem>) -> Vec<String> {
    problems.into_iter().map(|problem| problem.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_says_where_it_is_wrong() {
        let text = "kind: MeshPolicy\nmetadata: {name: a, namespace: shop}\nspec: {targetRefs: [{kind: Service, name: b}], \
                    routes: [{name: r, timeouts: {request: soon}}]}\n";
        let problems: Vec<_> = documents::parse(text).unwrap().iter().flat_map(check_policy).collect();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("spec.routes[0].timeouts.request"), "{problems:?}");
    }
}
