//! The downward API's file of labels: a line for each, `key="value"`, the value quoted as Go does (strconv.Quote; see
//! Kubernetes, pkg/fieldpath, FormatMap).

use mesh_config::selector::Labels;

/// Reads all lines; a line that isn't of that form is an error, because without a label a policy might not hold.
pub fn parse(bytes: &[u8]) -> Result<Labels, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("the labels are not UTF-8: {error}"))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let pair = line.split_once('=').and_then(|(key, value)| Some((key.to_owned(), unquoted(value)?)));
            pair.ok_or_else(|| format!("{line:?} is not a label; a line is key=\"value\""))
        })
        .collect()
}

/// Label values are letters, digits, `-`, `_` and `.`, which Go quotes as they are; the other escapes that can't occur are
/// refused rather than guessed.
fn unquoted(text: &str) -> Option<String> {
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut value = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => return None,
            '\\' => value.push(chars.next().filter(|escaped| ['"', '\\'].contains(escaped))?),
            char => value.push(char),
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_labels() {
        let labels = parse(b"app=\"web\"\nshop.example/tier=\"\"\nx=\"a=\\\"b\\\\\"\n\n").unwrap();
        let pairs: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("app", "web"), ("shop.example/tier", ""), ("x", "a=\"b\\")]);
        assert_eq!(parse(b""), Ok(Labels::new()));
    }

    #[test]
    fn what_is_no_label_is_named() {
        for text in ["app", "app=web", "app=\"web", "app=\"", "app=\"a\"b\"", "app=\"\\n\""] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        assert!(parse(b"\xff").is_err());
    }
}
