//! Applying again, over remains, with much to load; verifying; cleaning up beside others' tables.

use e2e::netns::{Init, Namespace, Packet, Privilege, Topology, Verdict};
use mesh_config::Capture;
use mesh_config::capture::parse_cidrs;
use std::time::Instant;

const FOREIGN: &str = "table inet other { chain output { type filter hook output priority filter; policy accept; \
                       tcp dport 9 counter packets 0 bytes 0 accept; } }";

fn rules(namespace: &Namespace) -> String {
    namespace.tool("nft list ruleset").unwrap()
}

fn some_exclusions() -> Capture {
    Capture {
        exclude_outbound_ports: "5432".parse().unwrap(),
        exclude_outbound_cidrs: parse_cidrs("10.0.0.0/8,fd00::/8").unwrap(),
        ..Capture::default()
    }
}

#[test]
fn three_applies_are_like_one() {
    let topology = Topology::new().unwrap();
    let init = Init::find().unwrap();
    init.apply(&topology.pod, &some_exclusions()).unwrap();
    let once = (rules(&topology.pod), topology.pod.tool("ip -6 addr show lo").unwrap());
    init.apply(&topology.pod, &some_exclusions()).unwrap();
    init.apply(&topology.pod, &some_exclusions()).unwrap();
    assert_eq!((rules(&topology.pod), topology.pod.tool("ip -6 addr show lo").unwrap()), once);
}

#[test]
fn other_settings_replace_all_of_the_earlier_ones() {
    let [first, fresh] = [(); 2].map(|()| Topology::new().unwrap());
    let init = Init::find().unwrap();
    init.apply(&first.pod, &some_exclusions()).unwrap();
    init.apply(&first.pod, &Capture::default()).unwrap();
    init.apply(&fresh.pod, &Capture::default()).unwrap();
    assert_eq!(rules(&first.pod), rules(&fresh.pod));
}

#[test]
fn the_remains_of_a_half_apply_are_replaced() {
    let remains = [
        "table inet outrigger { }",
        "table inet outrigger { chain outbound { } }",
        "table inet outrigger { chain output { type nat hook output priority -100; tcp dport 1-9 redirect to :1; } }",
        "table inet outrigger { set own_ports { type ipv4_addr; } chain inbound { ip saddr @own_ports drop; } }",
        "table inet outrigger { flags dormant; chain output { type filter hook output priority 0; policy drop; } }",
    ];
    let init = Init::find().unwrap();
    let fresh = Topology::new().unwrap();
    init.apply(&fresh.pod, &Capture::default()).unwrap();
    for remains in remains {
        let topology = Topology::new().unwrap();
        super::load_with_nft(&topology.pod, remains);
        init.apply(&topology.pod, &Capture::default()).unwrap();
        assert_eq!(rules(&topology.pod), rules(&fresh.pod), "{remains}");
    }
}

#[test]
fn applying_and_cleaning_up_leave_others_tables_alone() {
    let topology = Topology::new().unwrap();
    let (pod, init) = (&topology.pod, Init::find().unwrap());
    super::load_with_nft(pod, FOREIGN);
    super::load_with_nft(pod, "table ip outrigger { chain c { tcp dport 9 accept; } }");
    let before = rules(pod);
    let addresses = pod.tool("ip addr show lo").unwrap();
    init.apply(pod, &some_exclusions()).unwrap();
    assert!(rules(pod).starts_with(&before), "{}", rules(pod));
    for _ in 0..2 {
        let outcome = init.run(pod, Privilege::Injected, &Capture::default(), &["--clean-up"]).unwrap();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(rules(pod), before);
        assert_eq!(pod.tool("ip addr show lo").unwrap(), addresses);
    }
}

#[test]
fn an_address_that_somebody_else_put_on_lo_stays() {
    let topology = Topology::new().unwrap();
    let (pod, init) = (&topology.pod, Init::find().unwrap());
    pod.tool("ip -6 addr add ::6/128 dev lo nodad").unwrap();
    init.apply(pod, &Capture::default()).unwrap();
    let outcome = init.run(pod, Privilege::Injected, &Capture::default(), &["--clean-up"]).unwrap();
    assert!(outcome.stdout.contains("::6/128 stays on lo"), "{outcome:?}");
    assert!(pod.tool("ip -6 addr show lo").unwrap().contains("inet6 ::6/128"));
}

#[test]
fn the_pass_through_address_exists_only_where_another_interface_has_ipv6() {
    let init = Init::find().unwrap();
    let on_lo = |topology: &Topology| topology.pod.tool("ip -6 addr show lo").unwrap().contains("inet6 ::6/128");
    let both = Topology::new().unwrap();
    init.apply(&both.pod, &Capture::default()).unwrap();
    assert!(on_lo(&both));
    let ipv4 = super::ipv4_only();
    let outcome = init.apply(&ipv4.pod, &Capture::default()).unwrap();
    assert!(!on_lo(&ipv4));
    assert!(outcome.stdout.contains("IPv4 proven") && outcome.stdout.contains("IPv6 not in use"), "{outcome:?}");
}

#[test]
fn verifying_finds_every_kind_of_change() {
    let changes = [
        "add rule inet outrigger outbound tcp dport 22 return",
        "insert rule inet outrigger outbound tcp dport 22 return",
        "insert rule inet outrigger inbound counter",
        "flush chain inet outrigger output",
        "add chain inet outrigger stray",
        "add chain inet outrigger stray { type filter hook input priority 0; policy drop; }",
        "add set inet outrigger stray { type ipv4_addr; }",
        "add element inet outrigger own_ports { 8080 }",
        "delete element inet outrigger own_ports { 15006 }",
        "add element inet outrigger out_excluded4 { 11.0.0.0/8 }",
        "chain inet outrigger output { policy drop; }",
        "add table inet outrigger { flags dormant; }",
        "delete table inet outrigger",
    ];
    let topology = Topology::new().unwrap();
    let (pod, init) = (&topology.pod, Init::find().unwrap());
    let verify = || init.run(pod, Privilege::Injected, &some_exclusions(), &["--verify-only"]).unwrap();
    for change in changes {
        init.apply(pod, &some_exclusions()).unwrap();
        assert_eq!(verify().code, Some(0), "{:?}", verify());
        super::load_with_nft(pod, change);
        let outcome = verify();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{change}: {outcome:?}");
    }
    init.apply(pod, &some_exclusions()).unwrap();
    let other = init.run(pod, Privilege::Injected, &Capture::default(), &["--verify-only"]).unwrap();
    assert_eq!(other.code, Some(2), "other settings mean other rules");
    pod.tool("ip -6 addr del ::6/128 dev lo").unwrap();
    let outcome = verify();
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("::6/128"), "{outcome:?}");
}

/// Halves of networks, so that none can be merged with its neighbour. The settings are one environment variable of
/// 90 KB; the kernel takes up to 128 KiB.
#[test]
fn five_thousand_networks_are_loaded_in_one_transaction() {
    let nets =
        |count: u32| (0..count).map(|n| format!("11.{}.{}.0/25", n / 256, n % 256)).collect::<Vec<_>>().join(",");
    let v6 = |count: u32| (0..count).map(|n| format!("fd00:5:0:{n:x}::/65")).collect::<Vec<_>>().join(",");
    for (text, inside, outside) in [
        (nets(5000), Packet::from_app("11.0.0.1:80"), Packet::from_app("10.77.0.1:80")),
        (v6(5000), Packet::from_app("[fd00:5::5]:80"), Packet::from_app("[fd77::1]:80")),
    ] {
        let topology = Topology::new().unwrap();
        let capture = Capture { exclude_outbound_cidrs: parse_cidrs(&text).unwrap(), ..Capture::default() };
        assert_eq!(capture.exclude_outbound_cidrs.len(), 5000);
        let start = Instant::now();
        let outcome = Init::find().unwrap().apply(&topology.pod, &capture).unwrap();
        println!("{:?} with process start: {}", start.elapsed(), outcome.stdout.trim());
        super::check_in(&topology, &capture, &[(inside, Verdict::Left), (outside, Verdict::ToOutbound)]);
    }
}
