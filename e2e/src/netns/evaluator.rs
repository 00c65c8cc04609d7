//! The judge: what happens to a connection, read from section 4 of the design and from what `Capture` says of its
//! fields; written without looking at the rules, and sharing nothing with them.

use mesh_config::capture::{Capture, IpFamilies, Mode};
use std::net::{IpAddr, SocketAddr};

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Left,
    ToOutbound,
    ToInbound,
}

/// What can be seen of a connection's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Leaving { uid: u32, gid: u32, interface: &'static str, source: IpAddr, to: SocketAddr },
    Arriving { interface: &'static str, source: IpAddr, to: SocketAddr },
}

const OWN_PORTS: [u16; 5] = [15000, 15001, 15006, 15020, 15021];

pub fn evaluate(capture: &Capture, seen: Seen) -> Verdict {
    let (Seen::Leaving { to, .. } | Seen::Arriving { to, .. }) = seen;
    let family_is_captured = match capture.ip_families {
        IpFamilies::Dual => true,
        IpFamilies::Ipv4 => to.is_ipv4(),
        IpFamilies::Ipv6 => to.is_ipv6(),
    };
    if capture.mode == Mode::None || !family_is_captured {
        return Verdict::Left;
    }
    match seen {
        Seen::Arriving { interface, source, to } => inbound(capture, interface, source, to),
        Seen::Leaving { uid, gid, interface, source, to } => outbound(capture, uid, gid, interface, source, to),
    }
}

fn inbound(capture: &Capture, interface: &str, source: IpAddr, to: SocketAddr) -> Verdict {
    let left_alone = OWN_PORTS.contains(&to.port())
        || capture.exclude_interfaces.iter().any(|name| name == interface)
        || capture.exclude_inbound_ports.contains(to.port())
        || capture.exclude_inbound_cidrs.iter().any(|net| net.contains(&source))
        || capture.include_inbound_ports.as_ref().is_some_and(|only| !only.contains(to.port()));
    if left_alone { Verdict::Left } else { Verdict::ToInbound }
}

fn outbound(capture: &Capture, uid: u32, gid: u32, interface: &str, source: IpAddr, to: SocketAddr) -> Verdict {
    let pass_through = ["127.0.0.6", "::6"].iter().any(|address| address.parse() == Ok(source));
    if pass_through && interface == "lo" {
        return Verdict::Left;
    }
    let is_proxy = uid == 1337 && gid == 1337;
    if is_proxy {
        // on lo but not to loopback: to one of the Pod's own addresses
        let hairpin = interface == "lo" && !to.ip().is_loopback();
        return if hairpin { inbound(capture, interface, source, to) } else { Verdict::Left };
    }
    let excluded = interface == "lo"
        || to.ip().is_loopback()
        || capture.exclude_interfaces.iter().any(|name| name == interface)
        || capture.exclude_outbound_ports.contains(to.port())
        || capture.exclude_outbound_cidrs.iter().any(|net| net.contains(&to.ip()))
        || capture.exclude_outbound_uids.contains(uid);
    let (ports, nets) = (&capture.include_outbound_ports, &capture.include_outbound_cidrs);
    let included = match (ports, nets) {
        (None, None) => true,
        _ => {
            ports.as_ref().is_some_and(|ports| ports.contains(to.port()))
                || nets.as_ref().is_some_and(|nets| nets.iter().any(|net| net.contains(&to.ip())))
        }
    };
    if included && !excluded { Verdict::ToOutbound } else { Verdict::Left }
}
