//! `outrigger-injector`: reads its flags, starts logs, runs until SIGTERM, drains.

use anyhow::Context as _;
use clap::Parser;
use injector::run::{NAME, Options, run};
use mesh_config::names;
use mesh_runtime::signals::Shutdown;
use mesh_runtime::{admin, logs, panic};
use std::net::SocketAddr;

/// The mutating webhook that puts Outrigger's sidecar into Pods.
#[derive(Parser)]
#[command(name = NAME, version)]
struct Args {
    /// Where the API server calls us (HTTPS).
    #[arg(long, value_name = "ADDRESS:PORT", default_values_t = both(names::PORT_WEBHOOK))]
    listen: Vec<SocketAddr>,
    /// Health and metrics (plain HTTP).
    #[arg(long, value_name = "ADDRESS:PORT", default_values_t = both(names::PORT_HEALTH))]
    health_listen: Vec<SocketAddr>,
    /// The namespace of the control plane.
    #[arg(long, default_value = names::SYSTEM_NAMESPACE)]
    namespace: String,
    /// off, error, warn, info, debug, trace, or a list such as info,kube=debug.
    #[arg(long, default_value = "info")]
    log_level: String,
    /// text or json.
    #[arg(long, default_value_t)]
    log_format: logs::Format,
}

/// All interfaces, both families.
fn both(port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::from(([0_u16; 8], port)), SocketAddr::from(([0_u8; 4], port))]
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let level = logs::init(&args.log_level, args.log_format)?;
    panic::install_hook();
    let shutdown = Shutdown::on_signals().context("listening for signals")?;
    let client = mesh_kube::client::connect(&format!("{NAME}/{}", names::VERSION)).await?;
    let Args { listen, health_listen, namespace, .. } = args;
    tracing::info!(version = names::VERSION, namespace, "starting");
    let options = Options { listen, health_listen, namespace };
    run(options, client, admin::log_level_routes(&level), shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}
