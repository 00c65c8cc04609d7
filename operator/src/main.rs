//! `outrigger-operator`: reads its flags, starts logs, runs until SIGTERM, gives its Lease back.

use anyhow::Context as _;
use clap::Parser as _;
use mesh_config::names;
use mesh_runtime::signals::Shutdown;
use mesh_runtime::{admin, logs, panic};
use operator::run::{NAME, Options, run};
use operator::settings::Settings;

// One thread: what is heavy (compiling) is done in small turns, and the rest waits for the API server.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let level = logs::init(&settings.log_level, settings.log_format)?;
    panic::install_hook();
    let identity = settings.identity().context("this host has no name; give --identity")?;
    let shutdown = Shutdown::on_signals().context("listening for signals")?;
    let client = mesh_kube::client::connect(&format!("{NAME}/{}", names::VERSION)).await?;
    let Settings { namespace, health_listen, .. } = settings;
    tracing::info!(version = names::VERSION, namespace, identity, "starting");
    let options = Options { health_listen, namespace, identity };
    run(options, client, admin::log_level_routes(&level), shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}
