//! What the program was told: by its command line, and by `OUTRIGGER_*` in its environment. All of it is read and
//! checked before anything else happens, and every problem is named.

pub mod cpu;

use clap::{Args, Parser, Subcommand};
use mesh_config::pod::Identity;
use mesh_config::{Problems, Settings, names};
use std::path::{Path, PathBuf};

/// The sidecar proxy of the Outrigger mesh.
#[derive(Debug, Parser)]
#[command(name = "outrigger-proxy", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: RunArgs,
}

/// Without one, the proxy runs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask the proxy that runs here to send its callers away; it goes on accepting. A Pod's preStop hook.
    Drain {
        /// Return only when nothing is in flight any more, or the proxy's drain duration has passed. For a sidecar that is
        /// an ordinary container: its SIGTERM follows as soon as this returns.
        #[arg(long)]
        wait: bool,
    },
    /// Check a configuration document and name every problem.
    Validate {
        /// JSON or YAML.
        file: PathBuf,
    },
    /// Print the version.
    Version,
}

/// Where the configuration comes from.
#[derive(Debug, Default, PartialEq, Args)]
pub struct RunArgs {
    /// The configuration document: for machines without Kubernetes.
    #[arg(long, value_name = "FILE", conflicts_with = "config_dir")]
    pub config: Option<PathBuf>,
    /// The directory in which the ConfigMap is mounted (default: /etc/outrigger/config).
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// The workload's labels, as the downward API writes them (default: /etc/outrigger/pod/labels; with --config: none).
    #[arg(long, value_name = "FILE")]
    pub labels_file: Option<PathBuf>,
    /// Where the last good document is kept (default: /run/outrigger; with --config: nowhere).
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// A file by the directory to watch and its name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub directory: PathBuf,
    pub name: String,
}

/// Everything, checked.
#[derive(Debug)]
pub struct Options {
    pub settings: Settings,
    pub identity: Identity,
    pub document: Watched,
    /// `None`: the workload has no labels, and no file says so. `Some`: nothing is in force before they were read, since
    /// without them no policy that selects by label would hold.
    pub labels: Option<Watched>,
    pub state_dir: Option<PathBuf>,
    /// Worker threads.
    pub workers: usize,
}

impl Options {
    /// Reads and checks all. The environment is passed in, so that no test sets the process's own.
    pub fn new(args: RunArgs, get: impl Fn(&str) -> Option<String>) -> Result<Options, Problems> {
        let mut problems = Problems::default();
        let settings = Settings::from_env(&get).unwrap_or_else(|found| {
            problems.0.extend(found.0);
            Settings::default()
        });
        let mut watched = |flag: &str, path: &Path| {
            Watched::new(path).unwrap_or_else(|| {
                problems.add(flag, format!("{} names no file", path.display()));
                Watched { directory: PathBuf::new(), name: String::new() }
            })
        };
        let in_kubernetes = args.config.is_none();
        let document = match &args.config {
            Some(file) => watched("--config", file),
            None => Watched {
                directory: args.config_dir.unwrap_or_else(|| names::PATH_CONFIG.into()),
                name: names::KEY_PROXY_V1.into(),
            },
        };
        let default_labels = in_kubernetes.then(|| Path::new(names::PATH_POD).join("labels"));
        let labels = args.labels_file.or(default_labels).map(|file| watched("--labels-file", &file));
        let state_dir = args.state_dir.or(in_kubernetes.then(|| names::PATH_STATE.into()));
        let workers = settings.proxy.concurrency.map_or_else(cpu::workers, usize::from);
        let identity = Identity::from_env(&get);
        problems.or(Options { settings, identity, document, labels, state_dir, workers })
    }
}

impl Watched {
    fn new(file: &Path) -> Option<Watched> {
        let name = file.file_name()?.to_str()?.to_owned();
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        Some(Watched { directory: directory.unwrap_or(Path::new(".")).to_owned(), name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn watched(directory: &str, name: &str) -> Watched {
        Watched { directory: directory.into(), name: name.into() }
    }

    fn options(line: &[&str], env: &[(&str, &str)]) -> Result<Options, Problems> {
        let cli = Cli::try_parse_from([&["outrigger-proxy"], line].concat()).unwrap();
        Options::new(cli.run, |key| env.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).into()))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        for refused in [
            &["outrigger-proxy", "--config", "a", "--config-dir", "b"][..],
            &["outrigger-proxy", "--config", "a", "drain"],
            &["outrigger-proxy", "run"],
        ] {
            assert!(Cli::try_parse_from(refused).is_err(), "{refused:?}");
        }
        assert!(matches!(
            Cli::try_parse_from(["outrigger-proxy", "drain", "--wait"]).unwrap().command,
            Some(Command::Drain { wait: true })
        ));
    }

    #[test]
    fn in_a_pod_everything_has_its_mount() {
        let options = options(&[], &[("OUTRIGGER_POD_NAME", "web-0"), ("OUTRIGGER_CONCURRENCY", "3")]).unwrap();
        assert_eq!(options.document, watched("/etc/outrigger/config", "proxy.v1.json"));
        assert_eq!(options.labels, Some(watched("/etc/outrigger/pod", "labels")));
        assert_eq!(options.state_dir, Some("/run/outrigger".into()));
        assert_eq!((options.identity.name.as_str(), options.workers), ("web-0", 3));
    }

    #[test]
    fn on_a_machine_only_the_document_is_needed() {
        let options = options(&["--config", "proxy.yaml"], &[]).unwrap();
        assert_eq!(options.document, watched(".", "proxy.yaml"));
        assert_eq!((options.labels, options.state_dir), (None, None));
        assert!(options.workers > 0);
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let env = [("OUTRIGGER_CONCURRENCY", "0"), ("OUTRIGGER_LOG_FORMAT", "xml")];
        let problems = options(&["--config", "/", "--labels-file", ".."], &env).unwrap_err();
        let paths: Vec<&str> = problems.0.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["OUTRIGGER_CONCURRENCY", "OUTRIGGER_LOG_FORMAT", "--config", "--labels-file"]);
    }
}
