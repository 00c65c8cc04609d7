//! Which of a Pod's connections are captured. `init-iptables` turns it into rules, for each backend alike; what the
//! fields mean packet by packet stands there.

use crate::{PortSet, UidSet};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The outcome of the capture annotations. Exclusion beats inclusion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capture {
    pub mode: Mode,
    pub backend: Backend,
    pub ip_families: IpFamilies,
    /// Ports of the Pod that are captured; `None`: all.
    pub include_inbound_ports: Option<PortSet>,
    /// Ports of the Pod that are left alone.
    pub exclude_inbound_ports: PortSet,
    /// Callers that are left alone.
    pub exclude_inbound_cidrs: Vec<IpNet>,
    /// Destination ports that are captured whatever their address. With this or the next given, nothing else is.
    pub include_outbound_ports: Option<PortSet>,
    /// Destinations that are captured whatever their port.
    pub include_outbound_cidrs: Option<Vec<IpNet>>,
    pub exclude_outbound_ports: PortSet,
    pub exclude_outbound_cidrs: Vec<IpNet>,
    /// Users whose connections are left alone.
    pub exclude_outbound_uids: UidSet,
    /// Interfaces whose connections are left alone, both ways.
    pub exclude_interfaces: Vec<String>,
}

/// Whether anything is captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// NAT redirection into the proxy.
    #[default]
    Redirect,
    /// No rules at all: the Pod has the proxy, and whoever knows its ports can use them.
    None,
}

/// What writes the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// nf_tables over netlink, without any tool.
    #[default]
    Nft,
}

/// Which families are captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpFamilies {
    #[default]
    #[serde(rename = "dual")]
    Dual,
    #[serde(rename = "ipv4")]
    Ipv4,
    #[serde(rename = "ipv6")]
    Ipv6,
}

/// Not a CIDR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotACidr {
    #[error("'{0}' is not a network in CIDR form; write for example 10.0.0.0/8, 10.1.2.3/32 or fd00::/8")]
    Malformed(String),
    #[error("'{0}' has host bits set; write {1}, or the whole address with /{2}")]
    HostBits(String, IpNet, u8),
}

/// One network. A single address needs its `/32` or `/128`; host bits are refused, since either the address or the
/// length is then a typing error.
pub fn parse_cidr(text: &str) -> Result<IpNet, NotACidr> {
    let net: IpNet = text.trim().parse().map_err(|_| NotACidr::Malformed(text.to_owned()))?;
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(NotACidr::HostBits(text.to_owned(), net.trunc(), net.max_prefix_len()))
    }
}

/// A comma-separated list of networks; the empty text is the empty list.
pub fn parse_cidrs(text: &str) -> Result<Vec<IpNet>, NotACidr> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(parse_cidr).collect()
}

/// A comma-separated list, as the annotations and settings write it.
pub fn join<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cidrs_without_host_bits_are_read_and_others_say_what_to_write() {
        assert_eq!(join(&parse_cidrs("10.0.0.0/8, fd00::/8,1.2.3.4/32").unwrap()), "10.0.0.0/8,fd00::/8,1.2.3.4/32");
        assert_eq!(parse_cidrs("").unwrap(), []);
        for bad in ["10.0.0.0", "10.0.0.0/33", "x", "10.0.0.0/8,"] {
            assert!(matches!(parse_cidrs(bad), Err(NotACidr::Malformed(_))), "{bad}");
        }
        assert_eq!(
            parse_cidr("10.1.2.3/8").unwrap_err().to_string(),
            "'10.1.2.3/8' has host bits set; write 10.0.0.0/8, or the whole address with /32"
        );
    }
}
