//! What callers know of Services, the same in every namespace: any workload may call any Service.
//!
//! To keep documents small, only ports about which something is said are in it. On any other port proxies detect, and
//! connect to where the application wanted to go.
//!
//! Limits, said in the docs: a policy's `protocol` names a Pod's port, which callers can match with a Service's port
//! only where `targetPort` is a number; and what is said about kind Pod stays at the called side, because the Pods'
//! labels aren't known here.

use super::{Rank, Routed, backends};
use crate::index::{Index, Key, Policy, Service, ServicePort};
use crds::Target;
use mesh_config::PortRef;
use mesh_config::proxy::{self, Cluster};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The part that all namespaces' documents share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Callers {
    pub services: Vec<proxy::Service>,
    pub clusters: BTreeMap<String, Cluster>,
}

impl Callers {
    pub fn of(index: &Index) -> Callers {
        let about = About::of(index);
        let mut callers = Callers::default();
        let mut taken = BTreeSet::new();
        for (key, service) in index.services() {
            let said = about.service(key, service, &mut callers.clusters, index);
            if !said.is_empty() {
                callers.add(key, service, said, &mut taken);
            }
        }
        callers
    }

    /// For a moment two Services can have one address: the old one's deletion wasn't heard yet. The first keeps it.
    fn add(
        &mut self,
        key: &Key,
        service: &Service,
        said: Vec<proxy::ServicePort>,
        taken: &mut BTreeSet<(IpAddr, u16)>,
    ) {
        let free = |address: &IpAddr| said.iter().all(|port| !taken.contains(&(*address, port.port)));
        let addresses: Vec<IpAddr> = service.addresses().iter().copied().filter(free).collect();
        if addresses.is_empty() {
            return;
        }
        let pairs = addresses.iter().flat_map(|address| said.iter().map(|port| (*address, port.port)));
        taken.extend(pairs);
        self.services.push(proxy::Service { name: key.to_string(), addresses, ports: said });
    }
}

/// A policy that says something about a Service, or about one port of it.
struct Said<'a> {
    rank: Rank<'a>,
    policy: &'a Policy,
    port: Option<&'a str>,
    /// Routes hold for kind Service alone, also those of a policy that names its namespace too.
    routes: &'a [Routed],
}

/// Who says something to callers, by what it is about, weakest first.
struct About<'a> {
    services: BTreeMap<Key, Vec<Said<'a>>>,
    namespaces: BTreeMap<&'a str, Vec<Said<'a>>>,
}

impl<'a> About<'a> {
    fn of(index: &'a Index) -> Self {
        let mut about = About { services: BTreeMap::new(), namespaces: BTreeMap::new() };
        for policy in index.policies().filter(|policy| policy.is_for_callers()) {
            for target in &policy.reading.targets {
                let rank = Rank::of(policy, target.specificity());
                match target {
                    Target::Service { name, port } => {
                        let key = Key::new(&*policy.key.namespace, name);
                        let said = Said { rank, policy, port: port.as_deref(), routes: &policy.sections.routes };
                        about.services.entry(key).or_default().push(said);
                    }
                    Target::Namespace => {
                        let said = Said { rank, policy, port: None, routes: &[] };
                        about.namespaces.entry(&policy.key.namespace).or_default().push(said);
                    }
                    Target::Pods(_) => {}
                }
            }
        }
        for list in about.services.values_mut().chain(about.namespaces.values_mut()) {
            list.sort_by_key(|said| said.rank);
        }
        about
    }

    /// The ports of a Service about which something is said.
    fn service(
        &self,
        key: &Key,
        service: &Service,
        clusters: &mut BTreeMap<String, Cluster>,
        index: &Index,
    ) -> Vec<proxy::ServicePort> {
        if service.addresses().is_empty() {
            return Vec::new();
        }
        let weaker = self.namespaces.get(key.namespace.as_str()).into_iter().flatten();
        let own = self.services.get(key).into_iter().flatten();
        let all: Vec<&Said<'_>> = weaker.chain(own).collect();
        let mut numbers = BTreeSet::new();
        let ports = service.tcp_ports(None).filter(|port| numbers.insert(port.port));
        let said = ports.filter_map(|port| {
            let about = |said: &&&Said<'_>| said.port.is_none_or(|name| port.name.as_deref() == Some(name));
            let said: Vec<&Said<'_>> = all.iter().filter(about).copied().collect();
            one_port(port, &said, clusters, index)
        });
        said.collect()
    }
}

fn one_port(
    port: &ServicePort,
    said: &[&Said<'_>],
    clusters: &mut BTreeMap<String, Cluster>,
    index: &Index,
) -> Option<proxy::ServicePort> {
    let (mut protocol, mut detect_timeout) = (port.declared, None);
    for section in said.iter().filter(|said| !said.policy.dry_run()).filter_map(|s| s.policy.sections.protocol.as_ref())
    {
        // a name could only be resolved with the Pods at hand
        let entry =
            section.ports.iter().find(|entry| matches!(entry.port, PortRef::Number(_)) && entry.port == port.target);
        protocol = entry.map(|entry| entry.protocol).or(protocol);
        detect_timeout = section.detect_timeout.or(detect_timeout);
    }
    // what is declared is never detected
    let detect_timeout = detect_timeout.filter(|_| protocol.is_none());
    let enforced = merged(said.iter().filter(|said| !said.policy.dry_run()).map(|said| said.routes));
    let any_dry = said.iter().any(|said| said.policy.dry_run() && !said.routes.is_empty());
    let dry = any_dry.then(|| merged(said.iter().map(|said| said.routes)));

    let nothing = protocol.is_none() && detect_timeout.is_none() && enforced.is_empty() && dry.is_none();
    if nothing {
        return None;
    }
    for routed in enforced.iter().chain(dry.iter().flatten()) {
        for backend in &routed.backends {
            clusters.entry(backend.cluster()).or_insert_with(|| backends::cluster(index, backend));
        }
    }
    let routes = |merged: Vec<&Routed>| merged.into_iter().map(|routed| routed.route.clone()).collect();
    Some(proxy::ServicePort {
        port: port.port,
        name: port.name.clone(),
        protocol,
        detect_timeout,
        routes: routes(enforced),
        dry_run_routes: dry.map(routes),
    })
}

/// Routes merge by name, the winner's entry whole; in the order of names, which means nothing.
fn merged<'a>(weakest_first: impl Iterator<Item = &'a [Routed]>) -> Vec<&'a Routed> {
    let by_name: BTreeMap<&str, &Routed> =
        weakest_first.flatten().map(|routed| (routed.route.name.as_str(), routed)).collect();
    by_name.into_values().collect()
}
