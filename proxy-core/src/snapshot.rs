//! What a document means for this proxy, compiled for lookup. Immutable; `app` keeps the one in force in an `ArcSwap`.
//!
//! What is open keeps the objects of the snapshot that it began with; new connections and requests see the new one.
//! Compiling happens once per change of the document or of the Pod's labels; looking up never allocates.

use crate::policy::authz::Authz;
use crate::route::Routes;
use crate::telemetry::{AccessLog, Direction, Scope, next_id};
use mesh_config::proxy::{self, PortPolicy, Valid, Workload};
use mesh_config::selector::Labels;
use mesh_config::settings::AccessLogFormat;
use mesh_config::{ContainerPort, Problems, Protocol};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{sync::Arc, time::Duration};

/// What holds where the document says nothing: the Pod's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    pub detect_timeout: Duration,
    pub access_log: AccessLogFormat,
}

/// One document, as it holds for this proxy.
#[derive(Debug)]
pub struct Snapshot {
    /// `sha256:…` of the document's bytes.
    pub hash: Arc<str>,
    /// Counts the snapshots of this process; a later one has a higher number.
    pub generation: u64,
    inbound: HashMap<u16, Arc<InboundPort>>,
    inbound_others: Arc<InboundPort>,
    outbound: HashMap<SocketAddr, Arc<OutboundPort>>,
    outbound_default: Arc<OutboundDefault>,
}

/// A port of the Pod.
#[derive(Debug)]
pub struct InboundPort {
    /// Declared; `None`: detect.
    pub protocol: Option<Protocol>,
    /// Silence after which the destination is opened. Zero: at once.
    pub detect_timeout: Duration,
    /// What is enforced.
    pub authz: Authz,
    /// What would be enforced with the policies of mode DryRun; counted and logged, never applied.
    pub dry_run: Option<Authz>,
    /// Its part in metrics and access log.
    pub scope: Arc<Scope>,
}

/// A port of a Service that the document knows.
#[derive(Debug)]
pub struct OutboundPort {
    /// `NAMESPACE/NAME`.
    pub service: Arc<str>,
    pub port: u16,
    /// Declared; `None`: detect.
    pub protocol: Option<Protocol>,
    /// Silence after which the destination is opened. Zero: at once.
    pub detect_timeout: Duration,
    pub routes: Routes,
    /// What `routes` would be with the policies of mode DryRun; counted, never taken.
    pub dry_run: Option<Routes>,
    pub scope: Arc<Scope>,
}

/// Destinations that the document doesn't know: no routes, no declared protocol.
#[derive(Debug)]
pub struct OutboundDefault {
    pub detect_timeout: Duration,
    pub scope: Arc<Scope>,
}

/// A set of endpoints.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) id: u32,
    pub name: Arc<str>,
    pub endpoints: Vec<Endpoint>,
    /// Round robin, of all workers together.
    next: AtomicUsize,
}

/// One thing that can be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub v4: Option<SocketAddr>,
    pub v6: Option<SocketAddr>,
}

impl Snapshot {
    /// Compiles a document for the Pod with these labels and container ports. A document that validation let through
    /// has no problems here, unless the two disagree; then it is refused like any other bad one.
    pub fn new(
        valid: &Valid,
        hash: &str,
        generation: u64,
        labels: &Labels,
        ports: &[ContainerPort],
        defaults: &Defaults,
    ) -> Result<Snapshot, Problems> {
        let workload = Workload::new(valid, labels, ports);
        let mut problems = Problems::default();
        let mut inbound = HashMap::new();
        // declared ports are labelled by their number; of all others a port scan would make a time series each
        let declared = ports.iter().filter(|port| port.is_tcp()).map(|port| port.port);
        for number in workload.ports.keys().copied().chain(declared).collect::<BTreeSet<u16>>() {
            let port = InboundPort::new(workload.port(number), Some(number), defaults, &mut problems);
            inbound.insert(number, Arc::new(port));
        }
        let inbound_others = Arc::new(InboundPort::new(&workload.others, None, defaults, &mut problems));

        let access_log = AccessLog::new(&workload.outbound_access_log, defaults.access_log);
        let outbound = compile_services(valid, &access_log, defaults, &mut problems);
        let scope = Arc::new(Scope::new(Direction::Outbound, "", None, access_log));
        let outbound_default = Arc::new(OutboundDefault { detect_timeout: defaults.detect_timeout, scope });
        problems.or(Snapshot { hash: hash.into(), generation, inbound, inbound_others, outbound, outbound_default })
    }

    /// What holds for a port of the Pod.
    pub fn inbound(&self, port: u16) -> &Arc<InboundPort> {
        self.inbound.get(&port).unwrap_or(&self.inbound_others)
    }

    /// The Service port that has this address, if the document knows it.
    pub fn outbound(&self, original: SocketAddr) -> Option<&Arc<OutboundPort>> {
        self.outbound.get(&SocketAddr::new(original.ip().to_canonical(), original.port()))
    }

    /// What holds for every other destination.
    pub fn outbound_default(&self) -> &Arc<OutboundDefault> {
        &self.outbound_default
    }
}

impl InboundPort {
    fn new(policy: &PortPolicy, number: Option<u16>, defaults: &Defaults, problems: &mut Problems) -> InboundPort {
        let access_log = AccessLog::new(&policy.access_log, defaults.access_log);
        InboundPort {
            protocol: policy.protocol,
            detect_timeout: policy.detect_timeout.map_or(defaults.detect_timeout, mesh_config::Duration::as_std),
            authz: Authz::new(&policy.authorization, problems),
            dry_run: policy.dry_run.as_ref().map(|authorizations| Authz::new(authorizations, problems)),
            scope: Arc::new(Scope::new(Direction::Inbound, "", number, access_log)),
        }
    }
}

fn compile_services(
    valid: &Valid,
    access_log: &AccessLog,
    defaults: &Defaults,
    problems: &mut Problems,
) -> HashMap<SocketAddr, Arc<OutboundPort>> {
    let document = valid.document();
    let clusters: HashMap<&str, Arc<Cluster>> = document
        .clusters
        .iter()
        .map(|(name, cluster)| (name.as_str(), Arc::new(Cluster::new(name, endpoints(cluster)))))
        .collect();
    let mut outbound = HashMap::new();
    for (index, service) in document.services.iter().enumerate() {
        let name: Arc<str> = service.name.as_str().into();
        for (port_index, port) in service.ports.iter().enumerate() {
            let path = format!("services[{index}].ports[{port_index}]");
            let dry_run = port.dry_run_routes.as_ref();
            let compiled = Arc::new(OutboundPort {
                service: Arc::clone(&name),
                port: port.port,
                protocol: port.protocol,
                detect_timeout: port.detect_timeout.map_or(defaults.detect_timeout, mesh_config::Duration::as_std),
                routes: Routes::new(&format!("{path}.routes"), &port.routes, &clusters, problems),
                dry_run: dry_run
                    .map(|routes| Routes::new(&format!("{path}.dryRunRoutes"), routes, &clusters, problems)),
                scope: Arc::new(Scope::new(Direction::Outbound, &name, Some(port.port), access_log.clone())),
            });
            for address in &service.addresses {
                outbound.insert(SocketAddr::new(address.to_canonical(), port.port), Arc::clone(&compiled));
            }
        }
    }
    outbound
}

/// The first address of each family counts.
fn endpoints(cluster: &proxy::Cluster) -> Vec<Endpoint> {
    let endpoint = |endpoint: &proxy::Endpoint| {
        let of = |wanted: fn(&IpAddr) -> bool| {
            let mut addresses = endpoint.addresses.iter().map(IpAddr::to_canonical);
            addresses.find(wanted).map(|ip| SocketAddr::new(ip, endpoint.port))
        };
        Endpoint { v4: of(IpAddr::is_ipv4), v6: of(IpAddr::is_ipv6) }
    };
    cluster.endpoints.iter().map(endpoint).collect()
}

impl Cluster {
    pub fn new(name: &str, endpoints: Vec<Endpoint>) -> Cluster {
        Cluster { id: next_id(), name: name.into(), endpoints, next: AtomicUsize::new(0) }
    }

    /// The next endpoint in turn, by its address of the same family as `family_of` (an address that the Pod was about
    /// to call), or by its other one where it has only that. `None`: there is no endpoint.
    pub fn pick(&self, family_of: &SocketAddr) -> Option<SocketAddr> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let endpoint = self.endpoints.get(turn.checked_rem(self.endpoints.len())?)?;
        if family_of.ip().to_canonical().is_ipv4() { endpoint.v4.or(endpoint.v6) } else { endpoint.v6.or(endpoint.v4) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DEFAULTS: Defaults =
        Defaults { detect_timeout: Duration::from_millis(50), access_log: AccessLogFormat::Text };

    fn snapshot(document: &serde_json::Value, ports: &[ContainerPort]) -> Snapshot {
        let valid = Valid::from_bytes(document.to_string().as_bytes()).unwrap();
        let labels = [("app".to_owned(), "web".to_owned())].into();
        Snapshot::new(&valid, "sha256:0", 7, &labels, ports, &DEFAULTS).unwrap()
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_empty_document_gives_the_settings_defaults() {
        let snapshot = snapshot(&json!({"version": 1}), &[]);
        let port = snapshot.inbound(8080);
        assert_eq!((port.protocol, port.detect_timeout), (None, DEFAULTS.detect_timeout));
        assert!(port.authz.allows_everything() && port.dry_run.is_none());
        assert_eq!(port.scope.access_log.format, AccessLogFormat::Text);
        assert!(snapshot.outbound(address("10.0.0.1:80")).is_none());
        assert_eq!(snapshot.outbound_default().scope.port, None);
        assert_eq!((&*snapshot.hash, snapshot.generation), ("sha256:0", 7));
    }

    #[test]
    fn ports_are_found_by_number_and_only_declared_ones_become_a_label() {
        let http = ContainerPort { container: "c".into(), name: Some("http".into()), port: 8080, protocol: None };
        let dns = ContainerPort { port: 53, protocol: Some("UDP".into()), ..http.clone() };
        let snapshot = snapshot(
            &json!({"version": 1, "layers": [
                {"source": "a", "protocol": {"detectTimeout": "1s", "ports": [{"port": 9090, "protocol": "GRPC"}]}},
            ]}),
            &[http, dns],
        );
        let port = |number| {
            let port = snapshot.inbound(number);
            (port.protocol, port.detect_timeout.as_millis(), port.scope.port)
        };
        assert_eq!(port(8080), (None, 1000, Some(8080)));
        assert_eq!(port(9090), (Some(Protocol::Grpc), 1000, Some(9090)));
        assert_eq!(port(53), (None, 1000, None));
    }

    #[test]
    fn services_are_found_by_every_address_of_both_families() {
        let snapshot = snapshot(
            &json!({"version": 1, "services": [
                {"name": "shop/web", "addresses": ["10.0.0.1", "fd00::1"], "ports": [
                    {"port": 80, "protocol": "HTTP", "routes": [{"name": "r"}]},
                    {"port": 81, "detectTimeout": "0s", "dryRunRoutes": []}]},
            ]}),
            &[],
        );
        for text in ["10.0.0.1:80", "[fd00::1]:80", "[::ffff:10.0.0.1]:80"] {
            let port = snapshot.outbound(address(text)).unwrap();
            assert_eq!((&*port.service, port.port, port.protocol), ("shop/web", 80, Some(Protocol::Http)), "{text}");
            assert!(!port.routes.is_empty() && port.dry_run.is_none());
        }
        let other = snapshot.outbound(address("10.0.0.1:81")).unwrap();
        assert_eq!((other.detect_timeout, other.dry_run.is_some()), (Duration::ZERO, true));
        assert!(snapshot.outbound(address("10.0.0.1:82")).is_none());
    }

    #[test]
    fn endpoints_take_turns_and_answer_in_the_callers_family() {
        let document = proxy::Cluster {
            endpoints: vec![
                proxy::Endpoint { addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()], port: 1 },
                proxy::Endpoint { addresses: vec!["fd00::2".parse().unwrap()], port: 2 },
            ],
        };
        let cluster = Cluster::new("c", endpoints(&document));
        let pick = |text| cluster.pick(&address(text)).unwrap().to_string();
        assert_eq!(pick("10.9.9.9:80"), "10.0.0.1:1");
        assert_eq!(pick("10.9.9.9:80"), "[fd00::2]:2", "only in the other family");
        assert_eq!(pick("[fd00::9]:80"), "[fd00::1]:1");
        assert_eq!(pick("[fd00::9]:80"), "[fd00::2]:2");
        assert_eq!(pick("[::ffff:10.9.9.9]:80"), "10.0.0.1:1");
        assert_eq!(Cluster::new("empty", vec![]).pick(&address("10.9.9.9:80")), None);
    }
}
