//! The settings from the environment: [`mesh_config::Settings`], of which capture alone concerns us, and what the rules
//! can't hold of them.

use mesh_config::{Capture, Problems, Settings};

const EXCLUDE_INTERFACES: &str = "OUTRIGGER_EXCLUDE_INTERFACES";

/// All problems at once. A reader is passed in, so that no test sets the process environment.
pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Capture, Problems> {
    let (capture, mut problems) = match Settings::from_env(get) {
        Ok(settings) => (settings.capture, Problems::default()),
        Err(problems) => (Capture::default(), problems),
    };
    for name in &capture.exclude_interfaces {
        if !is_literal(name) {
            let what = "can't stand in a rule as an interface's name";
            problems.add(
                EXCLUDE_INTERFACES,
                format!("'{name}' {what}; write the name as `ip link` shows it, without wildcards"),
            );
        }
    }
    problems.or(capture)
}

/// Of this process. A value that isn't UTF-8 is read with replacement characters, which no setting takes.
pub fn from_process(key: &str) -> Option<String> {
    Some(std::env::var_os(key)?.to_string_lossy().into_owned())
}

/// nft reads a trailing `*` as a wildcard and has no way to write a quote; the kernel refuses `:`, white space, `.`,
/// `..`.
fn is_literal(name: &str) -> bool {
    let odd = |c: char| {
        matches!(c, '"' | '\\' | '*' | ':' | char::REPLACEMENT_CHARACTER) || c.is_whitespace() || c.is_control()
    };
    !matches!(name, "." | "..") && !name.contains(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(env: &[(&str, &str)]) -> Result<Capture, Problems> {
        read(|key| env.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn nothing_set_means_the_defaults() {
        assert_eq!(read_all(&[]).unwrap(), Capture::default());
    }

    #[test]
    fn interfaces_are_literal_names() {
        assert_eq!(
            read_all(&[(EXCLUDE_INTERFACES, "eth1,net-1.100")]).unwrap().exclude_interfaces,
            ["eth1", "net-1.100"]
        );
        for bad in ["eth*", "a\"b", "a\\", "a\tb", "..", "a:1", "a\u{fffd}"] {
            let problems = read_all(&[(EXCLUDE_INTERFACES, bad)]).unwrap_err();
            assert_eq!(problems.0.len(), 1, "{bad}");
            assert!(problems.to_string().contains("without wildcards"), "{problems}");
        }
        assert!(mesh_config::settings::KEYS.iter().any(|(key, _)| *key == EXCLUDE_INTERFACES));
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let bad = [("OUTRIGGER_EXCLUDE_OUTBOUND_PORTS", "http"), ("OUTRIGGER_IP_FAMILIES", "5")];
        let paths: Vec<_> = read_all(&bad).unwrap_err().0.into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["OUTRIGGER_IP_FAMILIES", "OUTRIGGER_EXCLUDE_OUTBOUND_PORTS"]);
    }
}
