//! `outrigger-proxy`: the sidecar. Reads its settings, binds its ports, runs `proxy-core`, and drains.

mod admin;
mod commands;
mod config;
mod drain;
mod probes;
mod run;
mod settings;
#[cfg(test)]
mod testing;

use anyhow::Context as _;
use clap::Parser as _;
use mesh_config::{names, settings::LogFormat};
use mesh_runtime::logs::{self, LevelHandle};
use mesh_runtime::{panic, signals::Shutdown};
use proxy_core::addr::Kernel;
use settings::{Cli, Command, Options, RunArgs};
use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => run(cli.run),
        Some(Command::Drain { wait }) => drain::ask(wait),
        Some(Command::Validate { file }) => commands::validate(&file),
        Some(Command::Version) => commands::say(names::VERSION),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // before logging is set up, and for commands that people call, this is all there is
            let _ = writeln!(std::io::stderr(), "outrigger-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: RunArgs) -> anyhow::Result<()> {
    one_arena();
    let (options, level) = read_settings(args)?;
    panic::install_hook();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // signals first: one that comes while binding must not kill us half-way
        let shutdown = Shutdown::on_signals()?;
        let workers = options.workers;
        let proxy = run::Proxy::bind(options, run::Listen::default(), Arc::new(Kernel))?;
        let (addresses, pages) = (proxy.addresses(), proxy.pages()?);
        tracing::info!(version = names::VERSION, workers, ?addresses, ?pages, "listening");
        proxy.run(shutdown, Some(level), stdout()).await
    })?;
    // a look at a directory that hangs (a dead network mount) must not keep a finished process alive
    runtime.shutdown_background();
    Ok(())
}

/// Reads all settings and sets logging up; every problem is named, before any port is bound.
fn read_settings(args: RunArgs) -> anyhow::Result<(Options, LevelHandle)> {
    let env = |key: &str| std::env::var(key).ok();
    let options = Options::new(args, env);
    let proxy = options.as_ref().map_or_else(|_| Default::default(), |options| options.settings.proxy.clone());
    let format = match proxy.log_format {
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    };
    match (options, logs::init(&env(LOG_LEVEL).unwrap_or(proxy.log_level), format)) {
        (Ok(options), Ok(level)) => Ok((options, level)),
        (Ok(_), Err(error)) => Err(error).context(LOG_LEVEL),
        (Err(mut problems), level) => {
            if let Err(error) = level {
                problems.add(LOG_LEVEL, error);
            }
            Err(commands::listed("bad settings", &problems))
        }
    }
}

/// Its value is understood by the logs alone, so its problems are found apart from the others.
const LOG_LEVEL: &str = "OUTRIGGER_LOG_LEVEL";

/// One heap for all threads: with a few threads that allocate little, glibc's default of several costs memory and gains
/// nothing (measured: the lowest resident size; neither jemalloc nor mimalloc did better).
fn one_arena() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt changes a number of the allocator, and there is no other thread yet.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}
