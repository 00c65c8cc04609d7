//! The command line: at most one flag, read by hand. A command line crate would be half of the binary.

use std::ffi::OsString;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Put the rules in place, read them back, prove that they work.
    Apply,
    /// Print the rules.
    DryRun,
    /// Take our table and our address away.
    CleanUp,
    /// Read back and prove, change nothing.
    VerifyOnly,
    Help,
}

const FLAGS: [(&str, Command, &str); 4] = [
    ("--dry-run", Command::DryRun, "print the rules as `nft -f` reads them, and do nothing"),
    ("--clean-up", Command::CleanUp, "take our table away, and our address from lo; nothing of others"),
    (
        "--verify-only",
        Command::VerifyOnly,
        "compare the rules that are there with the settings, and prove that they work",
    ),
    ("--help", Command::Help, "this text"),
];

/// Reads the arguments behind the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let all: Vec<String> = arguments.into_iter().map(|one| one.to_string_lossy().into_owned()).collect();
    let known = || FLAGS.map(|(flag, ..)| flag).join(", ");
    match all.as_slice() {
        [] => Ok(Command::Apply),
        [one] => FLAGS
            .iter()
            .find(|(flag, ..)| flag == one)
            .map(|(_, command, _)| *command)
            .ok_or_else(|| format!("unknown argument '{one}'; use one of {}", known())),
        _ => Err(format!("{} arguments; use at most one of {}", all.len(), known())),
    }
}

/// What `--help` prints.
pub fn help() -> String {
    let mut text = String::from(
        "outrigger-init: redirects the TCP connections of this network namespace into its outrigger-proxy.\n\n\
         Without a flag it puts the rules in place, reads them back and proves that they work.\n\n",
    );
    for (flag, _, help) in FLAGS {
        text += &format!("  {flag:<14} {help}\n");
    }
    text += "\nSettings (environment):\n";
    let ours = ["OUTRIGGER_CAPTURE_", "OUTRIGGER_IP_", "OUTRIGGER_INCLUDE_", "OUTRIGGER_EXCLUDE_"];
    for (key, help) in mesh_config::settings::KEYS {
        if ours.iter().any(|prefix| key.starts_with(prefix)) {
            text += &format!("  {key:<33} {help}\n");
        }
    }
    text += "\nExit codes: 0 done; 1 could not apply; 2 applied but not effective; 3 the kernel lacks something; \
             64 bad settings.\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_known_flag_is_taken() {
        let parse = |all: &[&str]| parse(all.iter().map(OsString::from));
        assert_eq!(parse(&[]), Ok(Command::Apply));
        for (flag, command, _) in FLAGS {
            assert_eq!(parse(&[flag]), Ok(command));
        }
        let known = "--dry-run, --clean-up, --verify-only, --help";
        assert_eq!(parse(&["--dryrun"]), Err(format!("unknown argument '--dryrun'; use one of {known}")));
        assert_eq!(parse(&["--help", ""]), Err(format!("2 arguments; use at most one of {known}")));
    }

    #[test]
    fn help_names_the_settings_of_capture_alone() {
        assert!(help().contains("OUTRIGGER_EXCLUDE_OUTBOUND_CIDRS"));
        assert!(!help().contains("OUTRIGGER_LOG_LEVEL"));
    }
}
