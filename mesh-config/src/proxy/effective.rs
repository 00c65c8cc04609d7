//! What holds for one Pod: the layers that select it, folded weakest first. Pure; the proxy calls it whenever the
//! document or the Pod's labels change, never per request.

use super::{AccessLog, Authorization, Layer, Rule, Valid, Verdict};
use crate::{ContainerPort, Duration, Protocol, selector::Labels};
use std::collections::BTreeMap;

/// What holds for a workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    /// Ports about which something is said.
    pub ports: BTreeMap<u16, PortPolicy>,
    /// Every other port.
    pub others: PortPolicy,
    /// For the calls that the workload makes.
    pub outbound_access_log: AccessLog,
}

/// What holds for one port of a workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PortPolicy {
    pub protocol: Option<Protocol>,
    pub detect_timeout: Option<Duration>,
    pub access_log: AccessLog,
    /// What is enforced.
    pub authorization: Authorizations,
    /// The same with the policies of mode DryRun applied, where any selects the port.
    pub dry_run: Option<Authorizations>,
}

/// United rules. A Deny anywhere wins, so their order means nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Authorizations {
    /// The strictest of the given defaults.
    default: Option<Verdict>,
    /// A layer that wasn't understood selects the port: nobody may call.
    pub closed: Option<String>,
    /// Each with the source of its layer.
    pub rules: Vec<(String, Rule)>,
}

impl Authorizations {
    /// What holds when no rule matches.
    pub fn default(&self) -> Verdict {
        let any_allow = self.rules.iter().any(|(_, rule)| rule.action == Verdict::Allow);
        self.default.unwrap_or(if any_allow { Verdict::Deny } else { Verdict::Allow })
    }

    /// Whether every connection is allowed without looking: the usual case, kept cheap.
    pub fn allows_everything(&self) -> bool {
        self.closed.is_none() && self.rules.is_empty() && self.default() == Verdict::Allow
    }

    fn add(&mut self, source: &str, authorization: Option<&Authorization>, closed: bool) {
        let Some(authorization) = authorization else { return };
        if closed {
            self.closed = Some(source.to_owned());
        }
        if authorization.default.is_some() && self.default != Some(Verdict::Deny) {
            self.default = authorization.default;
        }
        self.rules.extend(authorization.rules.iter().map(|rule| (source.to_owned(), rule.clone())));
    }
}

impl Workload {
    /// Folds the layers that select a Pod with these labels and container ports.
    pub fn new(valid: &Valid, labels: &Labels, container_ports: &[ContainerPort]) -> Workload {
        let layers = valid.document().layers.iter().enumerate();
        // what a selector of a newer kind means isn't known: such a layer closes whatever it may select
        let selected = |layer: &Layer| layer.selector.matches(labels);
        let selected: Vec<_> =
            layers.filter(|(_, layer)| selected(layer)).map(|(i, layer)| (layer, valid.is_closed(i))).collect();

        let mut workload = Workload::default();
        for (layer, _) in &selected {
            for port in mentioned(layer, container_ports) {
                workload.ports.entry(port).or_default();
            }
        }
        for (layer, closed) in &selected {
            let ports: Option<Vec<u16>> = (!layer.ports.is_empty())
                .then(|| layer.ports.iter().filter_map(|port| port.resolve(container_ports)).collect());
            for (number, policy) in &mut workload.ports {
                if ports.as_ref().is_none_or(|ports| ports.contains(number)) {
                    policy.apply(layer, *closed, Some(*number), container_ports);
                }
            }
            if ports.is_none() {
                workload.others.apply(layer, *closed, None, container_ports);
                if !layer.dry_run {
                    merge_access_log(&mut workload.outbound_access_log, layer);
                }
            }
        }
        workload
    }

    /// What holds for a port.
    pub fn port(&self, number: u16) -> &PortPolicy {
        self.ports.get(&number).unwrap_or(&self.others)
    }
}

/// The ports that a layer says something of its own about.
fn mentioned(layer: &Layer, container_ports: &[ContainerPort]) -> Vec<u16> {
    let declared = layer.protocol.iter().flat_map(|section| section.ports.iter().map(|entry| &entry.port));
    layer.ports.iter().chain(declared).filter_map(|port| port.resolve(container_ports)).collect()
}

impl PortPolicy {
    fn apply(&mut self, layer: &Layer, closed: bool, number: Option<u16>, container_ports: &[ContainerPort]) {
        if layer.dry_run {
            if layer.authorization.is_some() {
                // first of its mode: begins from what is enforced so far, and hears of what comes later below
                let enforced = &self.authorization;
                let dry_run = self.dry_run.get_or_insert_with(|| enforced.clone());
                dry_run.add(&layer.source, layer.authorization.as_ref(), closed);
            }
            return;
        }
        self.authorization.add(&layer.source, layer.authorization.as_ref(), closed);
        if let Some(dry_run) = &mut self.dry_run {
            dry_run.add(&layer.source, layer.authorization.as_ref(), closed);
        }
        if let Some(section) = &layer.protocol {
            self.detect_timeout = section.detect_timeout.or(self.detect_timeout);
            let declared =
                section.ports.iter().find(|entry| number.is_some() && entry.port.resolve(container_ports) == number);
            self.protocol = declared.map(|entry| entry.protocol).or(self.protocol);
        }
        merge_access_log(&mut self.access_log, layer);
    }
}

fn merge_access_log(into: &mut AccessLog, layer: &Layer) {
    if let Some(access_log) = &layer.access_log {
        into.format = access_log.format.or(into.format);
        if access_log.filter.is_some() {
            into.filter.clone_from(&access_log.filter);
        }
    }
}
