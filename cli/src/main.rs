//! `outrigger`, also found as `kubectl outrigger`: on files, the very functions that the cluster runs. It talks to no
//! cluster yet.
#![expect(clippy::print_stdout, reason = "a command line tool's output")]

mod documents;
mod inject;
mod validate;

use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

#[derive(Parser)]
#[command(name = "outrigger", version, about = "Outrigger on files: inject Pods, validate policies and documents")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put the sidecar into Pods, as the webhook would in a namespace labelled `enabled`; prints JSON
    Inject {
        /// Pod manifests, YAML or JSON; `-` is standard input
        #[arg(short, long)]
        file: PathBuf,
        /// The Namespace's manifest, whose labels and annotations count; without it the namespace is labelled `enabled`
        #[arg(long)]
        namespace_file: Option<PathBuf>,
        /// mesh.yaml; without it all defaults
        #[arg(long)]
        mesh_file: Option<PathBuf>,
    },
    /// Take the sidecar out of Pods; prints JSON
    Uninject {
        /// Pod manifests, YAML or JSON; `-` is standard input
        #[arg(short, long)]
        file: PathBuf,
    },
    /// Check MeshPolicies, mesh.yaml and proxy documents: every problem with its place
    Validate {
        /// Manifests of MeshPolicies, a proxy's document, or mesh.yaml; `-` is standard input
        #[arg(short, long, required = true)]
        file: Vec<PathBuf>,
    },
    /// Print the definition of MeshPolicy
    Crd,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Inject { file, namespace_file, mesh_file } => {
            inject::inject(&file, namespace_file.as_deref(), mesh_file.as_deref())
        }
        Command::Uninject { file } => inject::uninject(&file),
        Command::Validate { file } => validate::run(&file),
        Command::Crd => {
            print!("{}", crds::crd_yaml());
            Ok(true)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
