//! Subcommands that people call, and how problems are told to them.

use anyhow::Context as _;
use mesh_config::{Problems, proxy::Valid};
use std::io::{Write as _, stdout};
use std::path::Path;

/// `validate FILE`: says that it is valid, or every problem with its place.
pub fn validate(file: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let valid = Valid::from_bytes(&bytes).map_err(|problems| listed(&file.display().to_string(), &problems))?;
    for field in valid.unknown() {
        say(&format!("unknown field: {field}"))?;
    }
    say(&format!("valid, {}", mesh_config::hash(&bytes)))
}

/// Each problem on a line of its own.
pub fn listed(what: &str, problems: &Problems) -> anyhow::Error {
    let lines: Vec<String> = problems.0.iter().map(|problem| format!("\n  {problem}")).collect();
    anyhow::anyhow!("{what}:{}", lines.concat())
}

/// To standard output.
pub fn say(line: &str) -> anyhow::Result<()> {
    writeln!(stdout(), "{line}").context("writing to standard output")
}
