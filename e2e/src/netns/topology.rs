//! The Pod, its peer, and the wires between them.

use super::{Namespace, Origin, Packet, Seen};
use anyhow::Result;
use std::net::IpAddr;

/// Which families the Pod's interfaces have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    Both,
    Ipv4Only,
}

/// Two namespaces and their addresses.
pub struct Topology {
    pub pod: Namespace,
    pub peer: Namespace,
}

/// The Pod's own addresses on its two networks.
pub const POD: [&str; 2] = ["10.77.0.2", "fd77::2"];
pub const POD_ETH1: [&str; 2] = ["10.78.0.2", "fd78::2"];
/// The peer's on the same.
pub const PEER: [&str; 2] = ["10.77.0.1", "fd77::1"];
pub const PEER_ETH1: [&str; 2] = ["10.78.0.1", "fd78::1"];
/// What else the peer answers to, behind the Pod's default route.
pub const ELSEWHERE: [&str; 7] =
    ["10.96.0.10", "172.16.5.5", "198.18.0.7", "11.0.0.1", "fd96::10", "fd00:5::5", "2001:db8:ffff::7"];

impl Topology {
    pub fn new() -> Result<Self> {
        Self::with(Families::Both)
    }

    pub fn with(families: Families) -> Result<Self> {
        let topology = Topology { pod: Namespace::new()?, peer: Namespace::new()? };
        let Topology { pod, peer } = &topology;
        if families == Families::Ipv4Only {
            // before the interfaces exist: none gets even a link-local address
            for kind in ["all", "default"] {
                pod.sysctl(&format!("ipv6/conf/{kind}/disable_ipv6"), "1")?;
            }
            pod.sysctl("ipv6/conf/lo/disable_ipv6", "0")?;
        }
        for namespace in [pod, peer] {
            // answers may take another way than questions
            namespace.sysctl("ipv4/conf/all/rp_filter", "0")?;
            namespace.sysctl("ipv4/conf/default/rp_filter", "0")?;
            // nor do link-local addresses wait a second for others that have them
            namespace.sysctl("ipv6/conf/default/accept_dad", "0")?;
        }
        let wires = ["eth0", "eth1"].map(|name| {
            format!("link add {name} type veth peer name {name} netns {}\nlink set {name} up\n", peer.path())
        });
        pod.tool_with("ip -batch -", &format!("link set lo up\n{}", wires.concat()))?;
        let mut of_peer = String::from("link set lo up\nlink set eth0 up\nlink set eth1 up\n");
        for address in ELSEWHERE {
            of_peer += &address_line(address, "lo", None);
        }
        peer.tool_with("ip -batch -", &(of_peer + &addresses(PEER, PEER_ETH1, Families::Both)))?;
        let mut of_pod = addresses(POD, POD_ETH1, families) + "route add default via 10.77.0.1\n";
        if families == Families::Both {
            of_pod += "route add ::/0 via fd77::1\n";
        }
        pod.tool_with("ip -batch -", &of_pod)?;
        Ok(topology)
    }

    /// What a rule would see of a packet: its interface and source, by the routes above.
    pub fn seen(packet: &Packet) -> Seen {
        let to = packet.to;
        let is_one_of = |list: &[&str], address: IpAddr| list.iter().any(|one| one.parse() == Ok(address));
        let own = is_one_of(&POD, to.ip()) || is_one_of(&POD_ETH1, to.ip());
        let on_eth1 = |address| is_one_of(&POD_ETH1, address) || is_one_of(&PEER_ETH1, address);
        let outside = if on_eth1(to.ip()) { "eth1" } else { "eth0" };
        match packet.origin {
            Origin::Peer { source } => Seen::Arriving { interface: outside, source, to },
            Origin::Pod { uid, gid, source } => {
                let within = own || to.ip().is_loopback();
                let interface = if within { "lo" } else { outside };
                // towards itself a machine takes the destination as its source
                let v6 = usize::from(to.is_ipv6());
                let of_interface = if outside == "eth1" { POD_ETH1[v6] } else { POD[v6] };
                let default = if within { to.ip() } else { of_interface.parse().expect("a constant") };
                Seen::Leaving { uid, gid, interface, source: source.unwrap_or(default), to }
            }
        }
    }
}

fn addresses(eth0: [&str; 2], eth1: [&str; 2], families: Families) -> String {
    let mut lines = String::new();
    for (interface, [v4, v6]) in [("eth0", eth0), ("eth1", eth1)] {
        lines += &address_line(v4, interface, Some(24));
        if families == Families::Both {
            lines += &address_line(v6, interface, Some(64));
        }
    }
    lines
}

/// Without duplicate address detection, an IPv6 address is usable at once.
fn address_line(address: &str, interface: &str, prefix: Option<u8>) -> String {
    let (whole, nodad) = if address.contains(':') { (128, " nodad") } else { (32, "") };
    format!("addr add {address}/{} dev {interface}{nodad}\n", prefix.unwrap_or(whole))
}
