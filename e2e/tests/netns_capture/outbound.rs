//! Connections of programs in the Pod.

use super::{check, check_in, ipv4_only};
use Verdict::{Left, ToInbound, ToOutbound};
use e2e::netns::{Packet, Verdict};
use mesh_config::Capture;
use mesh_config::capture::{IpFamilies, Mode, parse_cidrs};

#[test]
fn everything_that_leaves_the_pod_is_captured_in_both_families() {
    check(
        &Capture::default(),
        &[
            (Packet::from_app("10.77.0.1:80"), ToOutbound),
            (Packet::from_app("[fd77::1]:80"), ToOutbound),
            (Packet::from_app("10.96.0.10:443"), ToOutbound),
            (Packet::from_app("[fd96::10]:443"), ToOutbound),
            (Packet::from_app("10.78.0.1:1"), ToOutbound),
            (Packet::from_app("[fd78::1]:65535"), ToOutbound),
            (Packet::from_user(0, 0, "172.16.5.5:22"), ToOutbound),
            (Packet::from_user(0, 0, "[2001:db8:ffff::7]:22"), ToOutbound),
        ],
    );
}

#[test]
fn only_user_and_group_of_the_proxy_together_are_exempt() {
    check(
        &Capture::default(),
        &[
            (Packet::from_proxy("10.77.0.1:80"), Left),
            (Packet::from_proxy("[fd77::1]:80"), Left),
            (Packet::from_user(1337, 1000, "10.77.0.1:80"), ToOutbound),
            (Packet::from_user(1337, 1000, "[fd77::1]:80"), ToOutbound),
            (Packet::from_user(1000, 1337, "10.77.0.1:80"), ToOutbound),
            (Packet::from_user(1000, 1337, "[fd77::1]:80"), ToOutbound),
            (Packet::from_user(0, 1337, "10.77.0.1:80"), ToOutbound),
            (Packet::from_user(1336, 1338, "10.77.0.1:80"), ToOutbound),
        ],
    );
}

#[test]
fn what_stays_within_the_pod_is_left_alone() {
    check(
        &Capture::default(),
        &[
            (Packet::from_app("127.0.0.1:80"), Left),
            (Packet::from_app("[::1]:80"), Left),
            (Packet::from_app("127.8.9.10:80"), Left),
            (Packet::from_app("10.77.0.2:80"), Left),
            (Packet::from_app("[fd77::2]:80"), Left),
            (Packet::from_app("10.78.0.2:80"), Left),
            (Packet::from_user(1337, 1000, "10.77.0.2:80"), Left),
            (Packet::from_user(1000, 1337, "[fd77::2]:80"), Left),
            (Packet::from_app("127.0.0.1:15001"), Left),
            (Packet::from_app("[::1]:15006"), Left),
            (Packet::from_proxy("127.0.0.1:80"), Left),
            (Packet::from_proxy("[::1]:80"), Left),
        ],
    );
}

#[test]
fn the_proxys_connection_to_the_pods_own_address_enters_the_inbound_side() {
    check(
        &Capture::default(),
        &[
            (Packet::from_proxy("10.77.0.2:80"), ToInbound),
            (Packet::from_proxy("[fd77::2]:80"), ToInbound),
            (Packet::from_proxy("10.78.0.2:80"), ToInbound),
            (Packet::from_proxy("[fd78::2]:80"), ToInbound),
            (Packet::from_proxy("10.77.0.2:15020"), Left),
            (Packet::from_proxy("[fd77::2]:15006"), Left),
        ],
    );
}

#[test]
fn the_hairpin_honours_inbound_exclusions() {
    let capture = Capture {
        exclude_inbound_ports: "8080,9000-9100".parse().unwrap(),
        exclude_inbound_cidrs: parse_cidrs("10.78.0.0/24,fd78::/64").unwrap(),
        ..Capture::default()
    };
    check(
        &capture,
        &[
            (Packet::from_proxy("10.77.0.2:8080"), Left),
            (Packet::from_proxy("[fd77::2]:8080"), Left),
            (Packet::from_proxy("10.77.0.2:9050"), Left),
            (Packet::from_proxy("10.77.0.2:8081"), ToInbound),
            (Packet::from_proxy("[fd77::2]:8081"), ToInbound),
            // the caller is the Pod itself, at this address
            (Packet::from_proxy("10.78.0.2:8081"), Left),
            (Packet::from_proxy("[fd78::2]:8081"), Left),
        ],
    );
    let only = Capture { include_inbound_ports: Some("8080".parse().unwrap()), ..Capture::default() };
    check(&only, &[(Packet::from_proxy("10.77.0.2:8080"), ToInbound), (Packet::from_proxy("[fd77::2]:8081"), Left)]);
}

#[test]
fn the_pass_through_source_is_left_alone_in_both_families() {
    check(
        &Capture::default(),
        &[
            (Packet::from_proxy_at("127.0.0.6", "10.77.0.2:80"), Left),
            (Packet::from_proxy_at("::6", "[fd77::2]:80"), Left),
            (Packet::from_proxy_at("127.0.0.6", "127.0.0.1:80"), Left),
            (Packet::from_proxy_at("::6", "[::1]:80"), Left),
            // not a pass-through source: a hairpin
            (Packet::from_proxy_at("127.0.0.5", "10.77.0.2:80"), ToInbound),
            (Packet::from_proxy_at("fd77::2", "[fd78::2]:80"), ToInbound),
        ],
    );
}

#[test]
fn our_own_ports_on_other_machines_are_captured() {
    let rows = [15000, 15001, 15006, 15020, 15021]
        .into_iter()
        .flat_map(|port| [format!("10.77.0.1:{port}"), format!("[fd96::10]:{port}")])
        .map(|to| (Packet::from_app(&to), ToOutbound));
    check(&Capture::default(), &rows.collect::<Vec<_>>());
}

#[test]
fn excluded_ports_are_left_alone_more_than_fifteen_and_in_ranges() {
    let singles: Vec<String> = (0..20).map(|n| (2000 + 2 * n).to_string()).collect();
    let list = format!("{},5000-5999,65535,1", singles.join(","));
    let capture = Capture { exclude_outbound_ports: list.parse().unwrap(), ..Capture::default() };
    let mut rows = vec![
        (Packet::from_app("10.77.0.1:5000"), Left),
        (Packet::from_app("[fd77::1]:5500"), Left),
        (Packet::from_app("10.77.0.1:5999"), Left),
        (Packet::from_app("10.77.0.1:65535"), Left),
        (Packet::from_app("10.77.0.1:1"), Left),
        (Packet::from_app("10.77.0.1:2"), ToOutbound),
        (Packet::from_app("10.77.0.1:4999"), ToOutbound),
        (Packet::from_app("[fd77::1]:6000"), ToOutbound),
        (Packet::from_app("10.77.0.1:65534"), ToOutbound),
    ];
    for n in 0..20 {
        rows.push((Packet::from_app(&format!("10.77.0.1:{}", 2000 + 2 * n)), Left));
        rows.push((Packet::from_app(&format!("[fd77::1]:{}", 2001 + 2 * n)), ToOutbound));
    }
    check(&capture, &rows);
}

#[test]
fn excluded_networks_are_left_alone_each_in_its_own_family() {
    let v4 =
        Capture { exclude_outbound_cidrs: parse_cidrs("10.96.0.0/12,172.16.5.5/32").unwrap(), ..Capture::default() };
    check(
        &v4,
        &[
            (Packet::from_app("10.96.0.10:80"), Left),
            (Packet::from_app("172.16.5.5:80"), Left),
            (Packet::from_app("10.77.0.1:80"), ToOutbound),
            (Packet::from_app("11.0.0.1:80"), ToOutbound),
            // an IPv4 network must neither break nor open IPv6
            (Packet::from_app("[fd96::10]:80"), ToOutbound),
            (Packet::from_app("[fd77::1]:80"), ToOutbound),
        ],
    );
    let v6 = Capture { exclude_outbound_cidrs: parse_cidrs("fd96::/112,2001:db8::/32").unwrap(), ..Capture::default() };
    check(
        &v6,
        &[
            (Packet::from_app("[fd96::10]:80"), Left),
            (Packet::from_app("[2001:db8:ffff::7]:80"), Left),
            (Packet::from_app("[fd00:5::5]:80"), ToOutbound),
            (Packet::from_app("10.96.0.10:80"), ToOutbound),
        ],
    );
    let all = Capture { exclude_outbound_cidrs: parse_cidrs("0.0.0.0/0").unwrap(), ..Capture::default() };
    check(&all, &[(Packet::from_app("10.96.0.10:80"), Left), (Packet::from_app("[fd96::10]:80"), ToOutbound)]);
}

#[test]
fn excluded_users_are_left_alone() {
    let capture = Capture { exclude_outbound_uids: "0,2000-2999,4294967294".parse().unwrap(), ..Capture::default() };
    check(
        &capture,
        &[
            (Packet::from_user(0, 1000, "10.77.0.1:80"), Left),
            (Packet::from_user(2000, 1000, "10.77.0.1:80"), Left),
            (Packet::from_user(2500, 1000, "[fd77::1]:80"), Left),
            (Packet::from_user(2999, 1000, "10.77.0.1:80"), Left),
            (Packet::from_user(4_294_967_294, 1000, "10.77.0.1:80"), Left),
            (Packet::from_user(1, 2500, "10.77.0.1:80"), ToOutbound),
            (Packet::from_user(1999, 1000, "10.77.0.1:80"), ToOutbound),
            (Packet::from_user(3000, 1000, "[fd77::1]:80"), ToOutbound),
            (Packet::from_user(256, 1000, "10.77.0.1:80"), ToOutbound),
        ],
    );
}

#[test]
fn excluded_interfaces_are_left_alone() {
    let capture = Capture { exclude_interfaces: vec!["eth1".into(), "nosuch0".into()], ..Capture::default() };
    check(
        &capture,
        &[
            (Packet::from_app("10.78.0.1:80"), Left),
            (Packet::from_app("[fd78::1]:80"), Left),
            (Packet::from_app("10.77.0.1:80"), ToOutbound),
            (Packet::from_app("[fd77::1]:80"), ToOutbound),
            // names are whole: eth is not eth1
            (Packet::from_peer("10.77.0.1", "10.77.0.2:80"), ToInbound),
        ],
    );
    let part = Capture { exclude_interfaces: vec!["eth".into()], ..Capture::default() };
    check(&part, &[(Packet::from_app("10.78.0.1:80"), ToOutbound)]);
    let lo = Capture { exclude_interfaces: vec!["lo".into()], ..Capture::default() };
    check(
        &lo,
        &[
            (Packet::from_proxy("10.77.0.2:80"), Left),
            (Packet::from_app("127.0.0.1:80"), Left),
            (Packet::from_app("10.77.0.1:80"), ToOutbound),
        ],
    );
}

#[test]
fn include_lists_capture_what_either_names_and_exclusion_wins() {
    let capture = Capture {
        include_outbound_ports: Some("80,8000-8100".parse().unwrap()),
        include_outbound_cidrs: Some(parse_cidrs("10.96.0.0/12,fd96::/112").unwrap()),
        exclude_outbound_ports: "8050".parse().unwrap(),
        exclude_outbound_cidrs: parse_cidrs("172.16.0.0/12,fd00:5::/32").unwrap(),
        exclude_outbound_uids: "2000".parse().unwrap(),
        ..Capture::default()
    };
    check(
        &capture,
        &[
            (Packet::from_app("10.77.0.1:80"), ToOutbound),
            (Packet::from_app("[fd77::1]:8100"), ToOutbound),
            (Packet::from_app("10.77.0.1:81"), Left),
            (Packet::from_app("[fd77::1]:81"), Left),
            (Packet::from_app("10.96.0.10:81"), ToOutbound),
            (Packet::from_app("[fd96::10]:81"), ToOutbound),
            (Packet::from_app("10.96.0.10:8050"), Left),
            (Packet::from_app("[fd77::1]:8050"), Left),
            (Packet::from_app("172.16.5.5:80"), Left),
            (Packet::from_app("[fd00:5::5]:80"), Left),
            (Packet::from_user(2000, 2000, "10.96.0.10:80"), Left),
            (Packet::from_proxy("10.96.0.10:80"), Left),
        ],
    );
    let networks = Capture { include_outbound_cidrs: Some(parse_cidrs("10.96.0.0/12").unwrap()), ..Capture::default() };
    check(
        &networks,
        &[
            (Packet::from_app("10.96.0.10:80"), ToOutbound),
            (Packet::from_app("10.77.0.1:80"), Left),
            (Packet::from_app("[fd77::1]:80"), Left),
        ],
    );
    let nothing = Capture { include_outbound_ports: Some("".parse().unwrap()), ..Capture::default() };
    check(&nothing, &[(Packet::from_app("10.77.0.1:80"), Left), (Packet::from_app("[fd77::1]:80"), Left)]);
}

#[test]
fn one_family_alone_leaves_the_other_as_it_was() {
    let only = |ip_families| Capture {
        ip_families,
        exclude_outbound_cidrs: parse_cidrs("172.16.0.0/12,fd00:5::/32").unwrap(),
        ..Capture::default()
    };
    check(
        &only(IpFamilies::Ipv4),
        &[
            (Packet::from_app("10.77.0.1:80"), ToOutbound),
            (Packet::from_app("172.16.5.5:80"), Left),
            (Packet::from_app("[fd77::1]:80"), Left),
            (Packet::from_peer("10.77.0.1", "10.77.0.2:80"), ToInbound),
            (Packet::from_peer("fd77::1", "[fd77::2]:80"), Left),
            (Packet::from_proxy("10.77.0.2:80"), ToInbound),
            (Packet::from_proxy("[fd77::2]:80"), Left),
            (Packet::from_proxy_at("::6", "[fd77::2]:80"), Left),
        ],
    );
    check(
        &only(IpFamilies::Ipv6),
        &[
            (Packet::from_app("10.77.0.1:80"), Left),
            (Packet::from_app("[fd77::1]:80"), ToOutbound),
            (Packet::from_app("[fd00:5::5]:80"), Left),
            (Packet::from_peer("10.77.0.1", "10.77.0.2:80"), Left),
            (Packet::from_peer("fd77::1", "[fd77::2]:80"), ToInbound),
            (Packet::from_proxy("10.77.0.2:80"), Left),
            (Packet::from_proxy("[fd77::2]:80"), ToInbound),
        ],
    );
}

#[test]
fn a_pod_without_ipv6_is_captured_as_well() {
    check_in(
        &ipv4_only(),
        &Capture::default(),
        &[
            (Packet::from_app("10.77.0.1:80"), ToOutbound),
            (Packet::from_peer("10.77.0.1", "10.77.0.2:80"), ToInbound),
            (Packet::from_app("[::1]:80"), Left),
        ],
    );
}

#[test]
fn without_capture_nothing_changes() {
    let capture = Capture { mode: Mode::None, ..Capture::default() };
    check(
        &capture,
        &[
            (Packet::from_app("10.77.0.1:80"), Left),
            (Packet::from_app("[fd77::1]:80"), Left),
            (Packet::from_peer("10.77.0.1", "10.77.0.2:80"), Left),
            (Packet::from_proxy("10.77.0.2:80"), Left),
        ],
    );
}
