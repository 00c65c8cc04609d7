//! Whether a target is there, and can carry the policy's sections.

use super::{HoldsFor, take_one_of};
use crate::index::{Index, Key, Policy, Reached, Service};
use crate::status::Reason;
use crds::Target;

/// Adds what is wrong with one target, and for whom something of it holds.
pub(super) fn judge(
    index: &Index,
    policy: &Policy,
    target: &Target,
    found: &mut Vec<(Reason, String)>,
    holds_for: &mut HoldsFor,
) {
    let called = called_sections(policy);
    match target {
        Target::Namespace => {
            holds_for.workloads |= !called.is_empty();
            holds_for.callers |= policy.sections.protocol.is_some() && !policy.dry_run();
        }
        Target::Pods(_) => holds_for.workloads |= !called.is_empty(),
        Target::Service { name, port } => {
            let key = Key::new(&*policy.key.namespace, name);
            match index.service(&key) {
                None => found.push((
                    Reason::TargetNotFound,
                    format!("spec.targetRefs: Service {key} does not exist; create it, or correct the name"),
                )),
                Some(service) => {
                    let wrong = of_service(&key, service, port.as_deref(), policy, &called, holds_for);
                    found.extend(wrong.into_iter().map(|(reason, text)| (reason, format!("spec.targetRefs: {text}"))));
                }
            }
        }
    }
}

fn of_service(
    key: &Key,
    service: &Service,
    port: Option<&str>,
    policy: &Policy,
    called: &[&'static str],
    holds_for: &mut HoldsFor,
) -> Vec<(Reason, String)> {
    if service.reached == Reached::ByExternalName {
        let text = format!(
            "Service {key} is of type ExternalName, which has neither Pods nor an address; take it out of targetRefs"
        );
        return vec![(Reason::UnsupportedService, text)];
    }
    if service.tcp_ports(port).next().is_none() {
        return vec![no_such_port(key, service, port)];
    }
    let mut found = Vec::new();
    let routes = !policy.sections.routes.is_empty();
    if routes && service.reached == Reached::Headless {
        let text = format!(
            "Service {key} is headless: its callers connect to Pods, so routes can't hold for it; give it a cluster IP, \
             or remove routes"
        );
        found.push((Reason::UnsupportedService, text));
    }
    if service.selector.is_empty() && !called.is_empty() {
        let sections = called.join(" and ");
        let text = format!(
            "Service {key} has no selector, so there are no Pods for which {sections} could hold; target the Pods with \
             kind: Pod, or remove {sections}"
        );
        found.push((Reason::UnsupportedService, text));
    }
    holds_for.workloads |= !called.is_empty() && !service.selector.is_empty();
    let protocol = policy.sections.protocol.is_some() && !policy.dry_run();
    holds_for.callers |= (routes || protocol) && !service.addresses().is_empty();
    found
}

fn no_such_port(key: &Key, service: &Service, port: Option<&str>) -> (Reason, String) {
    let names: Vec<&str> = service.tcp_ports(None).filter_map(|port| port.name.as_deref()).collect();
    let there = service.ports.iter().any(|other| port.is_some() && other.name.as_deref() == port);
    match port {
        Some(port) if there => {
            let text = format!("port {port} of Service {key} is not TCP, which policies are about");
            (Reason::UnsupportedService, text)
        }
        Some(port) => {
            let text = format!("Service {key} has no port {port} (sectionName); {}", take_one_of("port", &names));
            (Reason::TargetNotFound, text)
        }
        None => (Reason::UnsupportedService, format!("Service {key} has no TCP port, which policies are about")),
    }
}

/// The sections of a policy that hold for the Pods behind a Service.
fn called_sections(policy: &Policy) -> Vec<&'static str> {
    let sections = &policy.sections;
    let enforced = !policy.dry_run();
    let all = [
        ("authorization", sections.authorization.is_some()),
        ("protocol", sections.protocol.is_some() && enforced),
        ("telemetry", sections.access_log.is_some() && enforced),
    ];
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}
