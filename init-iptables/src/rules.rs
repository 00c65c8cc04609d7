//! From the capture settings to the rules: one pure function, in the order of the table below. Both families are
//! decided together, so that no family can be forgotten.
//!
//! | connection of a program in the Pod | |
//! |---|---|
//! | on `lo`, from the proxy's pass-through source (127.0.0.6, ::6) | leave |
//! | on `lo`, by the proxy (uid **and** gid), to an own address that is not loopback | as a connection to the Pod |
//! | by the proxy | leave |
//! | on `lo`, or to loopback | leave |
//! | excluded interface, port, network or user | leave |
//! | include lists given, neither port nor network in them | leave |
//! | other TCP | to the outbound listener |
//!
//! | connection to the Pod | |
//! |---|---|
//! | to one of our own ports | leave |
//! | excluded interface, port or source | leave |
//! | include list given, port not in it | leave |
//! | other TCP | to the inbound listener |
//!
//! It deliberately leaves alone everything that isn't TCP, and a family that `ip_families` doesn't name.

use crate::ruleset::{Chain, ChainName, Elements, Family, Field, Match, Rule, Ruleset, Set, SetName, Verdict};
use ipnet::IpNet;
use mesh_config::capture::{Capture, IpFamilies, Mode};
use mesh_config::{PortSet, names};
use std::net::IpAddr;

/// The rules of these settings; `None`: nothing is captured.
pub fn rules(capture: &Capture) -> Option<Ruleset> {
    match capture.mode {
        Mode::None => None,
        Mode::Redirect => Some(Builder { capture, sets: Vec::new() }.build()),
    }
}

/// The families that are captured.
pub fn families(families: IpFamilies) -> &'static [Family] {
    match families {
        IpFamilies::Dual => &Family::BOTH,
        IpFamilies::Ipv4 => &[Family::Ipv4],
        IpFamilies::Ipv6 => &[Family::Ipv6],
    }
}

struct Builder<'a> {
    capture: &'a Capture,
    sets: Vec<Set>,
}

impl Builder<'_> {
    fn build(mut self) -> Ruleset {
        let chains = ChainName::ALL.map(|name| Chain {
            name,
            rules: match name {
                ChainName::Prerouting => self.entry(ChainName::Inbound),
                ChainName::Inbound => self.inbound(),
                ChainName::Output => self.entry(ChainName::Outbound),
                ChainName::Outbound => self.outbound(),
            },
        });
        self.sets.sort_by_key(|set| set.name);
        Ruleset { sets: self.sets, chains: chains.into() }
    }

    fn entry(&self, to: ChainName) -> Vec<Rule> {
        let jump = Verdict::Jump(to);
        match families(self.capture.ip_families) {
            [one] => vec![rule([Match::Family(*one), Match::Tcp], jump, "one family only")],
            _ => vec![rule([Match::Tcp], jump, "")],
        }
    }

    fn inbound(&mut self) -> Vec<Rule> {
        let capture = self.capture;
        let mut rules = Vec::new();
        let own = Elements::Ports(PortSet::of(names::OWN_PORTS));
        rules.extend(self.when_in(SetName::OwnPorts, own, Verdict::Leave, "the proxy's own ports"));
        for name in self.excluded_interfaces() {
            rules.push(rule([Match::InInterface(name)], Verdict::Leave, "excluded interface"));
        }
        let ports = Elements::Ports(capture.exclude_inbound_ports.clone());
        rules.extend(self.when_in(SetName::ExcludedInboundPorts, ports, Verdict::Leave, "excluded ports"));
        for family in families(capture.ip_families) {
            let sources = networks(*family, &capture.exclude_inbound_cidrs);
            let name = SetName::ExcludedSources(*family);
            rules.extend(self.when_in(name, sources, Verdict::Leave, "excluded callers"));
        }
        let redirect = Verdict::Redirect(names::PORT_INBOUND);
        match &capture.include_inbound_ports {
            None => rules.push(rule([Match::Tcp], redirect, "")),
            Some(ports) => {
                let ports = Elements::Ports(ports.clone());
                rules.extend(self.when_in(SetName::IncludedInboundPorts, ports, redirect, "included ports alone"));
            }
        }
        rules
    }

    fn outbound(&mut self) -> Vec<Rule> {
        let capture = self.capture;
        let captured = families(capture.ip_families);
        let on_lo = || Match::OutInterface("lo".into());
        let proxy = || [Match::Uid(names::PROXY_UID), Match::Gid(names::PROXY_GID)];

        let mut rules = Vec::new();
        for family in captured {
            let source = Match::Source(match family {
                Family::Ipv4 => IpAddr::V4(names::PASSTHROUGH_V4),
                Family::Ipv6 => IpAddr::V6(names::PASSTHROUGH_V6),
            });
            rules.push(rule([on_lo(), source], Verdict::Leave, "the proxy's pass-through source"));
        }
        // with `lo` excluded these connections are left alone like all others on it: the next rule sees to that
        if !capture.exclude_interfaces.iter().any(|name| name == "lo") {
            for family in captured {
                let matches = [on_lo(), Match::NotToLoopback(*family)].into_iter().chain(proxy());
                rules.push(rule(matches, Verdict::Jump(ChainName::Inbound), "hairpin honours inbound exclusions"));
            }
        }
        rules.push(rule(proxy(), Verdict::Leave, "the proxy itself: uid AND gid"));
        rules.push(rule([on_lo()], Verdict::Leave, "within the Pod"));
        for family in captured {
            rules.push(rule([Match::ToLoopback(*family)], Verdict::Leave, "within the Pod"));
        }
        for name in self.excluded_interfaces() {
            rules.push(rule([Match::OutInterface(name)], Verdict::Leave, "excluded interface"));
        }
        let ports = Elements::Ports(capture.exclude_outbound_ports.clone());
        rules.extend(self.when_in(SetName::ExcludedOutboundPorts, ports, Verdict::Leave, "excluded ports"));
        for family in captured {
            let nets = networks(*family, &capture.exclude_outbound_cidrs);
            let name = SetName::ExcludedDestinations(*family);
            rules.extend(self.when_in(name, nets, Verdict::Leave, "excluded destinations"));
        }
        let uids = Elements::Uids(capture.exclude_outbound_uids.clone());
        rules.extend(self.when_in(SetName::ExcludedUids, uids, Verdict::Leave, "excluded users"));
        rules.extend(self.outbound_included());
        rules
    }

    /// The last rules of the outbound chain: what isn't left alone by now is captured, or only what is listed.
    fn outbound_included(&mut self) -> Vec<Rule> {
        let capture = self.capture;
        let redirect = Verdict::Redirect(names::PORT_OUTBOUND);
        if capture.include_outbound_ports.is_none() && capture.include_outbound_cidrs.is_none() {
            return vec![rule([Match::Tcp], redirect, "")];
        }
        let mut rules = Vec::new();
        let ports = Elements::Ports(capture.include_outbound_ports.clone().unwrap_or_default());
        rules.extend(self.when_in(SetName::IncludedOutboundPorts, ports, redirect, "included ports"));
        for family in families(capture.ip_families) {
            let nets = networks(*family, capture.include_outbound_cidrs.as_deref().unwrap_or_default());
            let name = SetName::IncludedDestinations(*family);
            rules.extend(self.when_in(name, nets, redirect, "included destinations"));
        }
        rules
    }

    /// A rule that looks into a new set; an empty set can't match, so it needs neither.
    fn when_in(&mut self, name: SetName, elements: Elements, verdict: Verdict, why: &'static str) -> Option<Rule> {
        if elements.is_empty() {
            return None;
        }
        self.sets.push(Set { name, elements });
        // only TCP comes here; but ports and redirects have a meaning for a named protocol alone
        let by_protocol = name.field() == Field::DestinationPort || matches!(verdict, Verdict::Redirect(_));
        let tcp = by_protocol.then_some(Match::Tcp);
        Some(rule(tcp.into_iter().chain([Match::In(name)]), verdict, why))
    }

    /// Each once, without `lo`: the rules above decide on all that `lo` carries.
    fn excluded_interfaces(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.capture.exclude_interfaces.iter().filter(|name| *name != "lo") {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

fn rule(matches: impl IntoIterator<Item = Match>, verdict: Verdict, why: &'static str) -> Rule {
    Rule { matches: matches.into_iter().collect(), verdict, why }
}

/// The networks of one family: the other's must never reach its rules.
fn networks(family: Family, nets: &[IpNet]) -> Elements {
    match family {
        Family::Ipv4 => {
            Elements::V4(nets.iter().filter_map(|net| if let IpNet::V4(v4) = net { Some(*v4) } else { None }).collect())
        }
        Family::Ipv6 => {
            Elements::V6(nets.iter().filter_map(|net| if let IpNet::V6(v6) = net { Some(*v6) } else { None }).collect())
        }
    }
}

#[cfg(test)]
mod tests;
