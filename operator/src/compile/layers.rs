//! The called side: what holds for a namespace's workloads, weakest first.
//!
//! Service declarations (`appProtocol`, port names) come first, then the policies by [`Rank`]. Authorization unites and
//! scalars merge field by field in the proxy (`mesh_config::proxy::effective`); here everything only takes its place.

use super::Rank;
use crate::index::{Index, Key, Policy, Service};
use crds::Target;
use mesh_config::proxy::{Authorization, Layer, PortProtocol, ProtocolSection};
use mesh_config::{PortRef, Selector};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// What is said about a whole namespace.
const NAMESPACE: u8 = 0;

pub(super) fn layers(index: &Index, namespace: &str) -> Vec<Layer> {
    let mut declared: Vec<_> = index.services_in(namespace).collect();
    // as with policies: the older, then the name that sorts first wins, which means comes last
    declared.sort_by_key(|(key, service)| Reverse((service.created.is_none(), service.created, *key)));
    let mut layers: Vec<Layer> = declared.into_iter().filter_map(|(key, service)| declaration(key, service)).collect();

    let mut said: Vec<(Rank<'_>, Layer)> = Vec::new();
    for policy in index.policies_in(namespace) {
        for target in &policy.reading.targets {
            let rank = Rank::of(policy, target.specificity());
            said.extend(of_target(index, policy, target).into_iter().map(|layer| (rank, layer)));
        }
        if let Some(fallback) = &policy.sections.fallback {
            said.push((Rank::of(policy, NAMESPACE), authorization_alone(policy, fallback)));
        }
    }
    // stable, so that one policy's layers of one rank stay as its targetRefs are
    said.sort_by_key(|(rank, _)| *rank);
    layers.extend(said.into_iter().map(|(_, layer)| layer));
    layers
}

/// The protocols that a Service declares for the Pods behind it.
fn declaration(key: &Key, service: &Service) -> Option<Layer> {
    let selector = selector(service)?;
    let mut seen = BTreeSet::new();
    let ports: Vec<PortProtocol> = service
        .tcp_ports(None)
        .filter_map(|port| Some(PortProtocol { port: port.target.clone(), protocol: port.declared? }))
        .filter(|declared| seen.insert(declared.port.clone()))
        .collect();
    let protocol = ProtocolSection { detect_timeout: None, ports };
    (!protocol.ports.is_empty()).then(|| Layer {
        source: format!("Service/{key}"),
        selector,
        protocol: Some(protocol),
        ..Layer::default()
    })
}

/// What a policy says about one of its targets: nothing where the target isn't there.
fn of_target(index: &Index, policy: &Policy, target: &Target) -> Vec<Layer> {
    let (selector, ports, named) = match target {
        Target::Namespace => (Selector::default(), Vec::new(), false),
        Target::Pods(labels) => (Selector { match_labels: labels.clone() }, Vec::new(), false),
        Target::Service { name, port } => {
            let service = index.service(&Key::new(&*policy.key.namespace, name));
            let Some((service, selector)) = service.and_then(|service| Some((service, selector(service)?))) else {
                return Vec::new();
            };
            let ports = service.targets(port.as_deref());
            if ports.is_empty() {
                // an empty list would mean every port of the Pods
                return Vec::new();
            }
            (selector, ports, port.is_some())
        }
    };
    let by_port = !ports.is_empty() && !named;
    let whole = layer(policy, selector, ports);
    let layers = if by_port {
        // the access log of a whole Service is about its Pods, the calls that they make included
        let log = Layer { ports: Vec::new(), authorization: None, protocol: None, ..whole.clone() };
        vec![Layer { access_log: None, ..whole }, log]
    } else {
        vec![whole]
    };
    layers.into_iter().filter(says_something).collect()
}

fn layer(policy: &Policy, selector: Selector, ports: Vec<PortRef>) -> Layer {
    let sections = &policy.sections;
    let dry_run = policy.dry_run();
    Layer {
        source: source(policy),
        selector,
        ports,
        dry_run,
        authorization: sections.authorization.clone(),
        // nothing can be counted of a protocol or a log line that isn't in force
        protocol: sections.protocol.clone().filter(|_| !dry_run),
        access_log: sections.access_log.clone().filter(|_| !dry_run),
    }
}

fn authorization_alone(policy: &Policy, authorization: &Authorization) -> Layer {
    Layer {
        source: source(policy),
        dry_run: policy.dry_run(),
        authorization: Some(authorization.clone()),
        ..Layer::default()
    }
}

fn says_something(layer: &Layer) -> bool {
    layer.authorization.is_some() || layer.protocol.is_some() || layer.access_log.is_some()
}

/// `None`: the Service chooses no Pods. (An empty selector of ours would choose all of them.)
fn selector(service: &Service) -> Option<Selector> {
    (!service.selector.is_empty()).then(|| Selector { match_labels: service.selector.clone() })
}

fn source(policy: &Policy) -> String {
    format!("MeshPolicy/{}", policy.key)
}
