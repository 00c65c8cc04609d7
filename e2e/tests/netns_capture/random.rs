//! Settings and packets by chance, from a fixed seed: what no table thought of.

use super::check_in;
use e2e::netns::topology::{ELSEWHERE, PEER, PEER_ETH1, POD, POD_ETH1};
use e2e::netns::{Origin, Packet, Topology, evaluate};
use mesh_config::capture::{Capture, IpFamilies, parse_cidrs};
use std::net::{IpAddr, SocketAddr};

const CAPTURES: u32 = 20;
const PACKETS: u32 = 15;
const PORTS: [u16; 12] = [1, 80, 443, 5432, 8080, 8081, 9000, 15000, 15001, 15006, 15021, 65535];
const UIDS: [u32; 6] = [0, 1000, 1337, 1338, 2000, 65534];
const NETS: [&str; 12] = [
    "10.77.0.0/24",
    "10.77.0.1/32",
    "10.64.0.0/10",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "11.0.0.0/8",
    "0.0.0.0/0",
    "fd77::/64",
    "fd00::/8",
    "fd96::/112",
    "2001:db8:ffff::/48",
    "::/0",
];

/// xorshift64*: the same numbers everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn some<T: Copy>(&mut self, all: &[T], at_most: usize) -> Vec<T> {
        (0..self.below(at_most + 1)).map(|_| self.pick(all)).collect()
    }

    fn ports(&mut self) -> String {
        let ranges = self.some(&PORTS, 3).into_iter().map(|first| {
            let last = first.saturating_add(self.pick(&[0, 0, 1, 1000]));
            format!("{first}-{last}")
        });
        ranges.collect::<Vec<_>>().join(",")
    }

    fn nets(&mut self) -> String {
        // whole families would leave nothing to look at in most cases
        let all = if self.one_in(4) { &NETS[..] } else { &NETS[1..6] };
        self.some(all, 3).join(",")
    }

    fn capture(&mut self) -> Capture {
        let families = [IpFamilies::Dual, IpFamilies::Dual, IpFamilies::Dual, IpFamilies::Ipv4, IpFamilies::Ipv6];
        Capture {
            ip_families: self.pick(&families),
            include_inbound_ports: self.one_in(3).then(|| self.ports().parse().unwrap()),
            exclude_inbound_ports: self.ports().parse().unwrap(),
            exclude_inbound_cidrs: parse_cidrs(&self.nets()).unwrap(),
            include_outbound_ports: self.one_in(3).then(|| self.ports().parse().unwrap()),
            include_outbound_cidrs: self.one_in(3).then(|| parse_cidrs(&self.nets()).unwrap()),
            exclude_outbound_ports: self.ports().parse().unwrap(),
            exclude_outbound_cidrs: parse_cidrs(&self.nets()).unwrap(),
            exclude_outbound_uids: mesh_config::UidSet::of(self.some(&UIDS, 2)),
            exclude_interfaces: self.some(&["eth1", "eth0", "lo", "net0"], 1).into_iter().map(String::from).collect(),
            ..Capture::default()
        }
    }

    fn packet(&mut self) -> Packet {
        let v6 = self.below(2);
        let port = self.pick(&PORTS);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let elsewhere: Vec<&str> = ELSEWHERE.into_iter().filter(|one| one.contains(':') == (v6 == 1)).collect();
        let (origin, to) = match self.below(5) {
            0 => (Origin::Peer { source: address(PEER_ETH1[v6]) }, POD_ETH1[v6]),
            1 => (Origin::Peer { source: address(self.pick(&[PEER[v6], elsewhere[0], elsewhere[1]])) }, POD[v6]),
            _ => {
                let loopback = ["127.0.0.1", "::1"][v6];
                let far = [PEER[v6], PEER_ETH1[v6], self.pick(&elsewhere), self.pick(&elsewhere)];
                let near = [POD[v6], POD_ETH1[v6], loopback];
                let to = if self.one_in(3) { self.pick(&near) } else { self.pick(&far) };
                let pass_through = near.contains(&to) && self.one_in(4);
                let source = pass_through.then(|| address(["127.0.0.6", "::6"][v6]));
                let (uid, gid) = (self.pick(&UIDS), self.pick(&UIDS));
                (Origin::Pod { uid, gid: if self.one_in(2) { uid } else { gid }, source }, to)
            }
        };
        Packet { origin, to: SocketAddr::new(address(to), port) }
    }
}

#[test]
fn packets_by_chance_go_where_the_design_says() {
    let mut chance = Chance(0x6f75_7472_6967_6765);
    let mut seen = [0; 3];
    for _ in 0..CAPTURES {
        let capture = chance.capture();
        let rows: Vec<_> = (0..PACKETS).map(|_| chance.packet()).collect();
        let rows: Vec<_> = rows.into_iter().map(|one| (one, evaluate(&capture, Topology::seen(&one)))).collect();
        rows.iter().for_each(|(_, verdict)| seen[*verdict as usize] += 1);
        check_in(&Topology::new().unwrap(), &capture, &rows);
    }
    // chance must not have missed a kind of verdict
    assert!(seen.iter().all(|count| *count > (CAPTURES * PACKETS) / 20), "{seen:?}");
}
