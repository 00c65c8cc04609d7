//! Files of several YAML documents, or JSON, as values.

use anyhow::{Context, Result};
use serde_json::Value;
use std::{io::Read, path::Path};

/// A file's text; `-` is standard input.
pub fn text(path: &Path) -> Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(text)
}

/// The documents of a text, empty ones left out; a `List`'s items stand for themselves.
pub fn parse(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("this is neither YAML nor JSON")?;
    let items = documents.into_iter().filter(|document| !document.is_null()).flat_map(|document| {
        match (document["kind"].as_str(), document["items"].as_array()) {
            (Some("List"), Some(items)) => items.clone(),
            _ => vec![document],
        }
    });
    Ok(items.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let text = "a: 1\n---\n---\nkind: List\nitems: [{b: 2}, {c: 3}]\n";
        let want = vec![serde_json::json!({"a": 1}), serde_json::json!({"b": 2}), serde_json::json!({"c": 3})];
        assert_eq!(parse(text).unwrap(), want);
        assert!(parse("a: [").is_err());
    }
}
