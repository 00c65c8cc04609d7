//! What is captured, as chains of rules that name no tool. [`crate::rules`] writes it, every backend reads it.
//!
//! A chain is read from the top; the first rule whose matches all hold decides. A connection that no rule decides goes
//! on unchanged. It deliberately knows no table, priority, register or option of a command.

use ipnet::{Ipv4Net, Ipv6Net};
use mesh_config::{PortSet, UidSet};
use std::net::IpAddr;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub const BOTH: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    pub fn name(self) -> &'static str {
        match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        }
    }

    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }
}

/// All rules, for both families together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// Only the sets that a rule looks into, in the order of their names' declaration.
    pub sets: Vec<Set>,
    /// In the order of [`ChainName::ALL`].
    pub chains: Vec<Chain>,
}

/// The chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChainName {
    /// Sees connections as they arrive from other interfaces than `lo`.
    Prerouting,
    /// Decides on connections to the Pod.
    Inbound,
    /// Sees connections as the Pod's programs open them.
    Output,
    /// Decides on connections of the Pod's programs.
    Outbound,
}

impl ChainName {
    pub const ALL: [ChainName; 4] = [ChainName::Prerouting, ChainName::Inbound, ChainName::Output, ChainName::Outbound];

    pub fn as_str(self) -> &'static str {
        match self {
            ChainName::Prerouting => "prerouting",
            ChainName::Inbound => "inbound",
            ChainName::Output => "output",
            ChainName::Outbound => "outbound",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub name: ChainName,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub matches: Vec<Match>,
    pub verdict: Verdict,
    /// Stands beside the rule wherever the backend can keep a comment.
    pub why: &'static str,
}

/// One condition on the first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    Tcp,
    Family(Family),
    /// The source is this one address.
    Source(IpAddr),
    /// The destination is in 127.0.0.0/8, or is ::1.
    ToLoopback(Family),
    /// The destination is of this family and not loopback.
    NotToLoopback(Family),
    /// The interface it came in by; never holds for a connection of the Pod's programs.
    InInterface(String),
    /// The interface it goes out by; never holds for a connection that arrives.
    OutInterface(String),
    /// The user who opened the socket.
    Uid(u32),
    /// The group of who opened the socket.
    Gid(u32),
    /// The set's [`Field`] of the packet is in it.
    In(SetName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Leave it alone.
    Leave,
    /// Let that chain decide.
    Jump(ChainName),
    /// Redirect to this port of the Pod.
    Redirect(u16),
}

/// What a set is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    DestinationPort,
    Source(Family),
    Destination(Family),
    Uid,
}

/// The sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetName {
    OwnPorts,
    ExcludedInboundPorts,
    ExcludedSources(Family),
    IncludedInboundPorts,
    ExcludedOutboundPorts,
    ExcludedDestinations(Family),
    ExcludedUids,
    IncludedOutboundPorts,
    IncludedDestinations(Family),
}

impl SetName {
    pub fn as_str(self) -> &'static str {
        match self {
            SetName::OwnPorts => "own_ports",
            SetName::ExcludedInboundPorts => "in_excluded_ports",
            SetName::ExcludedSources(Family::Ipv4) => "in_excluded_sources4",
            SetName::ExcludedSources(Family::Ipv6) => "in_excluded_sources6",
            SetName::IncludedInboundPorts => "in_included_ports",
            SetName::ExcludedOutboundPorts => "out_excluded_ports",
            SetName::ExcludedDestinations(Family::Ipv4) => "out_excluded4",
            SetName::ExcludedDestinations(Family::Ipv6) => "out_excluded6",
            SetName::ExcludedUids => "out_excluded_uids",
            SetName::IncludedOutboundPorts => "out_included_ports",
            SetName::IncludedDestinations(Family::Ipv4) => "out_included4",
            SetName::IncludedDestinations(Family::Ipv6) => "out_included6",
        }
    }

    pub fn field(self) -> Field {
        match self {
            SetName::OwnPorts
            | SetName::ExcludedInboundPorts
            | SetName::IncludedInboundPorts
            | SetName::ExcludedOutboundPorts
            | SetName::IncludedOutboundPorts => Field::DestinationPort,
            SetName::ExcludedSources(family) => Field::Source(family),
            SetName::ExcludedDestinations(family) | SetName::IncludedDestinations(family) => Field::Destination(family),
            SetName::ExcludedUids => Field::Uid,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub name: SetName,
    pub elements: Elements,
}

/// What a set holds; networks in the order of the settings, overlaps and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elements {
    Ports(PortSet),
    Uids(UidSet),
    V4(Vec<Ipv4Net>),
    V6(Vec<Ipv6Net>),
}

impl Elements {
    pub fn is_empty(&self) -> bool {
        match self {
            Elements::Ports(ports) => ports.is_empty(),
            Elements::Uids(uids) => uids.is_empty(),
            Elements::V4(nets) => nets.is_empty(),
            Elements::V6(nets) => nets.is_empty(),
        }
    }
}
