//! The command line. Nothing is read from the environment: a Deployment's manifest shows all there is.

use clap::Parser;
use mesh_config::names;
use mesh_runtime::logs::Format;
use std::net::SocketAddr;

#[derive(Clone, Debug, Parser)]
#[command(name = "outrigger-operator", version, about = "Turns MeshPolicies into the proxies' configuration.")]
pub struct Settings {
    /// The namespace that the operator runs in: its Lease and mesh.yaml are there, and it is never meshed.
    #[arg(long, default_value = names::SYSTEM_NAMESPACE)]
    pub namespace: String,

    /// Where health and metrics are served; may be given several times. Each family is a socket of its own.
    #[arg(long, value_name = "ADDRESS", default_values_t = health_listen())]
    pub health_listen: Vec<SocketAddr>,

    /// The name of this replica in the Lease, unique among replicas. Default: the host's name, which is the Pod's.
    #[arg(long)]
    pub identity: Option<String>,

    /// error, warn, info, debug, trace, or a list such as "info,kube=debug".
    #[arg(long, default_value = "info")]
    pub log_level: String,

    /// text or json.
    #[arg(long, default_value_t = Format::Text)]
    pub log_format: Format,
}

fn health_listen() -> [SocketAddr; 2] {
    [
        SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, names::PORT_HEALTH)),
        SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, names::PORT_HEALTH)),
    ]
}

impl Settings {
    /// As given, else the host's name.
    pub fn identity(&self) -> Option<String> {
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        self.identity.clone().or_else(host).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_needs_to_be_said() {
        let settings = Settings::try_parse_from(["outrigger-operator"]).unwrap();
        assert_eq!(settings.namespace, "outrigger-system");
        let listen: Vec<String> = settings.health_listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["0.0.0.0:15021", "[::]:15021"]);
        assert!(settings.identity().is_some());
    }

    #[test]
    fn what_is_said_holds() {
        let line = "outrigger-operator --namespace mesh --health-listen 127.0.0.1:0 --identity a --log-format json";
        let settings = Settings::try_parse_from(line.split(' ')).unwrap();
        assert_eq!((settings.namespace.as_str(), settings.health_listen.len()), ("mesh", 1));
        assert_eq!((settings.identity(), settings.log_format), (Some("a".into()), Format::Json));
        let bad = |line: &str| Settings::try_parse_from(line.split(' ')).unwrap_err().to_string();
        assert!(bad("x --log-format xml").contains("isn't one of text, json"));
    }
}
