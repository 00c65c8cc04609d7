//! Where the proof connects to: an address that belongs to nobody, at a port that these settings capture. Pure; which
//! interface it leaves by is asked elsewhere.

use crate::ruleset::Family;
use ipnet::IpNet;
use mesh_config::{Capture, PortSet, names};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// RFC 5737: TEST-NET-1, 2 and 3.
const TEST_NETS_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(203, 0, 113, 1)];
/// RFC 3849 and RFC 9637.
const TEST_NETS_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 1)];

/// Why there can't be a proof under these settings. Never a failure: the rules are in place and read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPossible {
    #[error("these settings do not capture it")]
    FamilyNotCaptured,
    #[error("user {0}, who runs this, is excluded from capture")]
    User(u32),
    #[error("this runs as the proxy's user and group")]
    TheProxy,
    #[error("the settings capture none of the addresses that exist for tests")]
    Addresses,
    #[error("interface {0}, which has the route, is excluded from capture")]
    Interface(String),
    #[error("the kernel routes test addresses to lo")]
    Loopback,
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

pub fn target(capture: &Capture, family: Family, user: User) -> Result<SocketAddr, NotPossible> {
    if !crate::rules::families(capture.ip_families).contains(&family) {
        return Err(NotPossible::FamilyNotCaptured);
    }
    if (user.uid, user.gid) == (names::PROXY_UID, names::PROXY_GID) {
        return Err(NotPossible::TheProxy);
    }
    if capture.exclude_outbound_uids.contains(user.uid) {
        return Err(NotPossible::User(user.uid));
    }
    let addresses: Vec<IpAddr> = match family {
        Family::Ipv4 => TEST_NETS_V4.map(IpAddr::V4).into(),
        Family::Ipv6 => TEST_NETS_V6.map(IpAddr::V6).into(),
    };
    let excluded = |address: &IpAddr| in_any(&capture.exclude_outbound_cidrs, *address);
    let free = addresses.into_iter().filter(|address| !excluded(address));
    let mut reachable = free.filter_map(|address| Some(SocketAddr::new(address, port(capture, address)?)));
    reachable.next().ok_or(NotPossible::Addresses)
}

/// A captured port of this address.
fn port(capture: &Capture, address: IpAddr) -> Option<u16> {
    let no_lists = capture.include_outbound_ports.is_none() && capture.include_outbound_cidrs.is_none();
    let listed = in_any(capture.include_outbound_cidrs.as_deref().unwrap_or_default(), address);
    let any = PortSet::new([(1, u16::MAX)]);
    let included = if no_lists || listed { &any } else { capture.include_outbound_ports.as_ref()? };
    let excluded = &capture.exclude_outbound_ports;
    // the lowest of a set minus another begins either with a range of the one or behind a range of the other
    let behind = excluded.iter().filter_map(|(_, last)| last.checked_add(1));
    let mut candidates = [80].into_iter().chain(included.iter().map(|(first, _)| first)).chain(behind);
    candidates.find(|port| included.contains(*port) && !excluded.contains(*port))
}

fn in_any(nets: &[IpNet], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_config::capture::{IpFamilies, parse_cidrs};

    const INIT: User = User { uid: names::INIT_UID, gid: names::INIT_UID };

    fn v4(change: impl FnOnce(&mut Capture)) -> Result<String, NotPossible> {
        let mut capture = Capture::default();
        change(&mut capture);
        target(&capture, Family::Ipv4, INIT).map(|target| target.to_string())
    }

    fn ok(text: &str) -> Result<String, NotPossible> {
        Ok(text.to_owned())
    }

    #[test]
    fn the_first_test_net_is_taken_that_the_settings_capture() {
        assert_eq!(v4(|_| ()), ok("192.0.2.1:80"));
        assert_eq!(
            v4(|c| c.exclude_outbound_cidrs = parse_cidrs("192.0.2.0/24,198.0.0.0/8").unwrap()),
            ok("203.0.113.1:80")
        );
        assert_eq!(v4(|c| c.exclude_outbound_cidrs = parse_cidrs("0.0.0.0/0").unwrap()), Err(NotPossible::Addresses));
        let v6 = target(&Capture::default(), Family::Ipv6, INIT).unwrap();
        assert_eq!(v6.to_string(), "[2001:db8::1]:80");
    }

    #[test]
    fn a_port_is_taken_that_the_settings_capture() {
        assert_eq!(v4(|c| c.exclude_outbound_ports = "1-100".parse().unwrap()), ok("192.0.2.1:101"));
        assert_eq!(v4(|c| c.exclude_outbound_ports = "1-65535".parse().unwrap()), Err(NotPossible::Addresses));
        assert_eq!(v4(|c| c.include_outbound_ports = Some("443,8080-8090".parse().unwrap())), ok("192.0.2.1:443"));
        let both = v4(|c| {
            c.include_outbound_ports = Some("8080-8090".parse().unwrap());
            c.exclude_outbound_ports = "8000-8085".parse().unwrap();
        });
        assert_eq!(both, ok("192.0.2.1:8086"));
    }

    #[test]
    fn include_lists_of_networks_hold_a_test_net_or_there_is_no_proof() {
        let cidrs = |text: &str| Some(parse_cidrs(text).unwrap());
        assert_eq!(v4(|c| c.include_outbound_cidrs = cidrs("10.0.0.0/8")), Err(NotPossible::Addresses));
        assert_eq!(v4(|c| c.include_outbound_cidrs = cidrs("10.0.0.0/8,203.0.113.0/24")), ok("203.0.113.1:80"));
        let both = v4(|c| {
            c.include_outbound_cidrs = cidrs("10.0.0.0/8");
            c.include_outbound_ports = Some("25".parse().unwrap());
        });
        assert_eq!(both, ok("192.0.2.1:25"));
        assert_eq!(v4(|c| c.include_outbound_ports = Some(PortSet::default())), Err(NotPossible::Addresses));
    }

    #[test]
    fn who_is_not_captured_can_prove_nothing() {
        assert_eq!(v4(|c| c.exclude_outbound_uids = "65534".parse().unwrap()), Err(NotPossible::User(65534)));
        assert_eq!(v4(|c| c.ip_families = IpFamilies::Ipv6), Err(NotPossible::FamilyNotCaptured));
        let proxy = User { uid: 1337, gid: 1337 };
        assert_eq!(target(&Capture::default(), Family::Ipv4, proxy), Err(NotPossible::TheProxy));
        assert!(target(&Capture::default(), Family::Ipv4, User { uid: 0, ..proxy }).is_ok());
    }
}
