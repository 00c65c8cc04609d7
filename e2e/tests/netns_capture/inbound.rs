//! Connections to the Pod.

use super::check;
use Verdict::{Left, ToInbound};
use e2e::netns::{Packet, Topology, Verdict};
use mesh_config::Capture;
use mesh_config::capture::parse_cidrs;

#[test]
fn everything_that_arrives_is_captured_in_both_families() {
    check(
        &Capture::default(),
        &[
            (Packet::from_peer("10.77.0.1", "10.77.0.2:80"), ToInbound),
            (Packet::from_peer("fd77::1", "[fd77::2]:80"), ToInbound),
            (Packet::from_peer("172.16.5.5", "10.77.0.2:1"), ToInbound),
            (Packet::from_peer("2001:db8:ffff::7", "[fd77::2]:65535"), ToInbound),
            (Packet::from_peer("10.78.0.1", "10.78.0.2:80"), ToInbound),
            (Packet::from_peer("fd78::1", "[fd78::2]:80"), ToInbound),
        ],
    );
}

#[test]
fn our_own_ports_are_left_alone() {
    let ports = [(15000, Left), (15001, Left), (15006, Left), (15020, Left), (15021, Left)];
    let beside = [(14999, ToInbound), (15002, ToInbound), (15005, ToInbound), (15007, ToInbound), (15022, ToInbound)];
    let rows = ports.into_iter().chain(beside).flat_map(|(port, verdict)| {
        let v4 = Packet::from_peer("10.77.0.1", &format!("10.77.0.2:{port}"));
        [(v4, verdict), (Packet::from_peer("fd77::1", &format!("[fd77::2]:{port}")), verdict)]
    });
    check(&Capture::default(), &rows.collect::<Vec<_>>());
    // an include list that names them changes nothing
    let named = Capture { include_inbound_ports: Some("15006,80".parse().unwrap()), ..Capture::default() };
    check(
        &named,
        &[
            (Packet::from_peer("10.77.0.1", "10.77.0.2:15006"), Left),
            (Packet::from_peer("10.77.0.1", "10.77.0.2:80"), ToInbound),
        ],
    );
}

#[test]
fn excluded_ports_are_left_alone_more_than_fifteen_and_in_ranges() {
    let singles: Vec<String> = (0..20).map(|n| (3000 + 2 * n).to_string()).collect();
    let list = format!("{},7000-7999", singles.join(","));
    let capture = Capture { exclude_inbound_ports: list.parse().unwrap(), ..Capture::default() };
    let mut rows = vec![
        (Packet::from_peer("10.77.0.1", "10.77.0.2:7000"), Left),
        (Packet::from_peer("fd77::1", "[fd77::2]:7999"), Left),
        (Packet::from_peer("10.77.0.1", "10.77.0.2:6999"), ToInbound),
        (Packet::from_peer("fd77::1", "[fd77::2]:8000"), ToInbound),
    ];
    for n in 0..20 {
        rows.push((Packet::from_peer("10.77.0.1", &format!("10.77.0.2:{}", 3000 + 2 * n)), Left));
        rows.push((Packet::from_peer("fd77::1", &format!("[fd77::2]:{}", 3001 + 2 * n)), ToInbound));
    }
    check(&capture, &rows);
}

#[test]
fn excluded_callers_are_left_alone_each_in_its_own_family() {
    let capture =
        Capture { exclude_inbound_cidrs: parse_cidrs("172.16.0.0/12,10.77.0.1/32").unwrap(), ..Capture::default() };
    check(
        &capture,
        &[
            (Packet::from_peer("172.16.5.5", "10.77.0.2:80"), Left),
            (Packet::from_peer("10.77.0.1", "10.77.0.2:80"), Left),
            (Packet::from_peer("10.96.0.10", "10.77.0.2:80"), ToInbound),
            (Packet::from_peer("fd77::1", "[fd77::2]:80"), ToInbound),
        ],
    );
    let v6 = Capture { exclude_inbound_cidrs: parse_cidrs("fd96::/112").unwrap(), ..Capture::default() };
    check(
        &v6,
        &[
            (Packet::from_peer("fd96::10", "[fd77::2]:80"), Left),
            (Packet::from_peer("fd77::1", "[fd77::2]:80"), ToInbound),
            (Packet::from_peer("10.96.0.10", "10.77.0.2:80"), ToInbound),
            // destinations are another list
            (Packet::from_app("[fd96::10]:80"), Verdict::ToOutbound),
        ],
    );
}

#[test]
fn excluded_interfaces_are_left_alone() {
    let capture = Capture { exclude_interfaces: vec!["eth1".into()], ..Capture::default() };
    check(
        &capture,
        &[
            (Packet::from_peer("10.78.0.1", "10.78.0.2:80"), Left),
            (Packet::from_peer("fd78::1", "[fd78::2]:80"), Left),
            (Packet::from_peer("10.77.0.1", "10.77.0.2:80"), ToInbound),
            (Packet::from_peer("fd77::1", "[fd77::2]:80"), ToInbound),
        ],
    );
}

#[test]
fn an_include_list_captures_its_ports_alone_and_exclusion_wins() {
    let capture = Capture {
        include_inbound_ports: Some("80,8000-8100".parse().unwrap()),
        exclude_inbound_ports: "8050".parse().unwrap(),
        exclude_inbound_cidrs: parse_cidrs("172.16.0.0/12").unwrap(),
        ..Capture::default()
    };
    check(
        &capture,
        &[
            (Packet::from_peer("10.77.0.1", "10.77.0.2:80"), ToInbound),
            (Packet::from_peer("fd77::1", "[fd77::2]:8100"), ToInbound),
            (Packet::from_peer("10.77.0.1", "10.77.0.2:81"), Left),
            (Packet::from_peer("fd77::1", "[fd77::2]:8101"), Left),
            (Packet::from_peer("10.77.0.1", "10.77.0.2:8050"), Left),
            (Packet::from_peer("172.16.5.5", "10.77.0.2:80"), Left),
        ],
    );
    let nothing = Capture { include_inbound_ports: Some("".parse().unwrap()), ..Capture::default() };
    check(
        &nothing,
        &[(Packet::from_peer("10.77.0.1", "10.77.0.2:80"), Left), (Packet::from_peer("fd77::1", "[fd77::2]:80"), Left)],
    );
}

#[test]
fn datagrams_are_left_alone_both_ways() {
    let topology = Topology::new().unwrap();
    super::check_in(&topology, &Capture::default(), &[]);
    let bind = |address: &str| std::net::UdpSocket::bind(address).unwrap();
    let patience = Some(std::time::Duration::from_secs(3));
    for (pod, peer) in [("10.77.0.2:5353", "10.77.0.1:5353"), ("[fd77::2]:5353", "[fd77::1]:5353")] {
        let (inside, outside) = (topology.pod.run(|| bind(pod)).unwrap(), topology.peer.run(|| bind(peer)).unwrap());
        for (from, to, address) in [(&inside, &outside, peer), (&outside, &inside, pod)] {
            to.set_read_timeout(patience).unwrap();
            from.send_to(b"hello", address).unwrap();
            let mut buffer = [0; 8];
            let (length, source) = to.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], source), (&b"hello"[..], from.local_addr().unwrap()));
        }
    }
}
