//! The proof that `outrigger-init` makes after it applied: it fails exactly where capture doesn't work.

use e2e::netns::packet::StandIn;
use e2e::netns::{Init, Namespace, Outcome, Privilege, Topology};
use mesh_config::Capture;
use mesh_config::capture::{IpFamilies, Mode, parse_cidrs};

fn apply(topology: &Topology, capture: &Capture) -> Outcome {
    Init::find().unwrap().run(&topology.pod, Privilege::Injected, capture, &[]).unwrap()
}

#[track_caller]
fn assert_says(capture: &Capture, words: &[&str]) {
    let outcome = apply(&Topology::new().unwrap(), capture);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    words.iter().for_each(|words| assert!(outcome.stdout.contains(words), "{words}: {outcome:?}"));
}

#[test]
fn somebody_elses_rules_that_come_first_are_found_out() {
    for family in ["ip daddr 192.0.2.0/24 dnat ip to 10.77.0.1:9", "ip6 daddr 2001:db8::/32 dnat ip6 to [fd77::1]:9"] {
        let topology = Topology::new().unwrap();
        let other = format!(
            "table inet mesh {{ chain output {{ type nat hook output priority -101; meta l4proto tcp {family}; }} }}"
        );
        super::load_with_nft(&topology.pod, &other);
        let outcome = apply(&topology, &Capture::default());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome:?}");
        assert!(outcome.stderr.contains("applied, but not effective"), "{outcome:?}");
        assert!(outcome.stderr.contains("nft list ruleset"), "{outcome:?}");
    }
}

#[test]
fn packets_that_are_dropped_are_found_out() {
    let topology = Topology::new().unwrap();
    let drop = "table inet wall { chain input { type filter hook input priority 0; tcp dport 15001 drop; } }";
    super::load_with_nft(&topology.pod, drop);
    let outcome = apply(&topology, &Capture::default());
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("192.0.2.1:80"), "{outcome:?}");
}

#[test]
fn a_running_proxy_is_no_obstacle() {
    let topology = Topology::new().unwrap();
    let _proxy = StandIn::start(&topology.pod).unwrap();
    let outcome = apply(&topology, &Capture::default());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("IPv4 proven by 192.0.2.1:80 with a proxy running"), "{outcome:?}");
    assert!(outcome.stdout.contains("IPv6 proven by [2001:db8::1]:80 with a proxy running"), "{outcome:?}");
}

#[test]
fn the_proofs_port_is_free_again_at_once() {
    let topology = Topology::new().unwrap();
    apply(&topology, &Capture::default());
    // without SO_REUSEADDR, unlike the proxy
    let bound = topology.pod.run(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
        socket.bind(&std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 15001)).into())
    });
    bound.unwrap().unwrap();
}

#[test]
fn where_there_is_no_route_the_family_is_not_in_use() {
    let topology = Topology::new().unwrap();
    topology.pod.tool("ip -6 route del default").unwrap();
    let outcome = apply(&topology, &Capture::default());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("IPv4 proven") && outcome.stdout.contains("IPv6 not in use"), "{outcome:?}");
    let bare = Namespace::new().unwrap();
    let outcome = Init::find().unwrap().apply(&bare, &Capture::default()).unwrap();
    assert!(outcome.stdout.contains("IPv4 not in use here (no route); IPv6 not in use here (no route)"), "{outcome:?}");
}

#[test]
fn another_address_or_port_is_taken_where_the_first_is_excluded() {
    let by = |exclude_outbound_cidrs: &str| Capture {
        exclude_outbound_cidrs: parse_cidrs(exclude_outbound_cidrs).unwrap(),
        ..Capture::default()
    };
    assert_says(&by("192.0.2.0/24,2001:db8::/32"), &["IPv4 proven by 198.51.100.1:80", "IPv6 proven by [3fff::1]:80"]);
    let ports = Capture { exclude_outbound_ports: "1-1024".parse().unwrap(), ..Capture::default() };
    assert_says(&ports, &["IPv4 proven by 192.0.2.1:1025"]);
    let only = Capture { include_outbound_ports: Some("8443".parse().unwrap()), ..Capture::default() };
    assert_says(&only, &["IPv4 proven by 192.0.2.1:8443", "IPv6 proven by [2001:db8::1]:8443"]);
}

#[test]
fn where_nothing_can_be_proven_it_says_why_and_succeeds() {
    let excluded = Capture { exclude_outbound_uids: "60000-65534".parse().unwrap(), ..Capture::default() };
    assert_says(&excluded, &["IPv4 not proven, since user 65534, who runs this, is excluded from capture"]);
    let nets = Capture { include_outbound_cidrs: Some(parse_cidrs("10.0.0.0/8").unwrap()), ..Capture::default() };
    assert_says(&nets, &["IPv4 not proven, since the settings capture none of the addresses that exist for tests"]);
    let interface = Capture { exclude_interfaces: vec!["eth0".into()], ..Capture::default() };
    assert_says(&interface, &["IPv6 not proven, since interface eth0, which has the route, is excluded from capture"]);
    assert_says(&Capture { ip_families: IpFamilies::Ipv6, ..Capture::default() }, &["IPv6 proven by"]);
}

#[test]
fn without_capture_nothing_is_applied_and_it_says_so() {
    let topology = Topology::new().unwrap();
    let none = Capture { mode: Mode::None, ..Capture::default() };
    for who in [Privilege::Injected, Privilege::NotGranted] {
        let outcome = Init::find().unwrap().run(&topology.pod, who, &none, &[]).unwrap();
        assert_eq!(outcome.code, Some(0));
        assert!(outcome.stdout.starts_with("capture-mode none: nothing is redirected"), "{outcome:?}");
    }
    assert_eq!(topology.pod.tool("nft list ruleset").unwrap(), "");
    assert!(!topology.pod.tool("ip -6 addr show lo").unwrap().contains("::6/128"));
}
