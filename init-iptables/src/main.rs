//! `outrigger-init`: see [`init_iptables`]. Prints one line on success, the reason and the way out on failure.

use init_iptables::failure::Failure;
use init_iptables::{cli, run, settings};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = cli::parse(std::env::args_os().skip(1)).map_err(Failure::Usage);
    // whoever closed our output misses the text, not the exit code
    match command.and_then(|command| run::run(command, settings::from_process)) {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "outrigger-init: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
