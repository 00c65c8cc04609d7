//! The rules in nft's own language: for people to read, and `nft -f` loads the very same table from it that
//! [`mod@super::load`] sends (a test holds both equal).

use super::interval::{Interval, intervals};
use super::kernel::NF_IP_PRI_NAT_DST;
use super::program::Key;
use super::{TABLE, lower};
use crate::ruleset::{Chain, ChainName, Family, Field, Match, Rule, Ruleset, Set, Verdict};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A file for `nft -f` that replaces our table in one transaction.
pub fn text(ruleset: &Ruleset) -> String {
    let mut out = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n");
    let _ = writeln!(out, "table inet {TABLE} {{");
    ruleset.sets.iter().for_each(|one| set(&mut out, one));
    ruleset.chains.iter().for_each(|one| chain(&mut out, one));
    out.push_str("}\n");
    out
}

fn set(out: &mut String, set: &Set) {
    let key = lower::key(set.name);
    let kind = match key {
        Key::Port => "inet_service",
        Key::Ipv4 => "ipv4_addr",
        Key::Ipv6 => "ipv6_addr",
        Key::Uid => "uid",
    };
    let elements: Vec<String> = intervals(&set.elements).iter().map(|one| interval(key, one)).collect();
    let name = set.name.as_str();
    let _ = writeln!(out, "\tset {name} {{\n\t\ttype {kind}\n\t\tflags interval");
    let _ = writeln!(out, "\t\telements = {{ {} }}\n\t}}\n", elements.join(", "));
}

fn chain(out: &mut String, chain: &Chain) {
    let _ = writeln!(out, "\tchain {} {{", chain.name.as_str());
    let hook = match chain.name {
        ChainName::Prerouting => Some("prerouting"),
        ChainName::Output => Some("output"),
        ChainName::Inbound | ChainName::Outbound => None,
    };
    if let Some(hook) = hook {
        // a number: not every nft takes the word `dstnat` at the output hook
        let _ = writeln!(out, "\t\ttype nat hook {hook} priority {NF_IP_PRI_NAT_DST}; policy accept;");
    }
    for one in &chain.rules {
        let _ = writeln!(out, "\t\t{}", rule(one));
    }
    out.push_str("\t}\n");
}

fn rule(rule: &Rule) -> String {
    let by_port = |one: &Match| matches!(one, Match::In(set) if set.field() == Field::DestinationPort);
    let says_tcp = rule.matches.iter().any(by_port);
    let matches = rule.matches.iter().filter(|one| !(says_tcp && **one == Match::Tcp));
    let mut words: Vec<String> = matches.map(matching).collect();
    words.push(match rule.verdict {
        Verdict::Leave => "return".into(),
        Verdict::Jump(to) => format!("jump {}", to.as_str()),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
    });
    if !rule.why.is_empty() {
        words.push(format!("comment \"{}\"", rule.why));
    }
    words.join(" ")
}

fn matching(condition: &Match) -> String {
    match condition {
        Match::Tcp => "meta l4proto tcp".into(),
        Match::Family(Family::Ipv4) => "meta nfproto ipv4".into(),
        Match::Family(Family::Ipv6) => "meta nfproto ipv6".into(),
        Match::Source(address) => format!("{} saddr {address}", protocol(Family::of(*address))),
        Match::ToLoopback(Family::Ipv4) => "ip daddr 127.0.0.0/8".into(),
        Match::ToLoopback(Family::Ipv6) => "ip6 daddr ::1".into(),
        Match::NotToLoopback(Family::Ipv4) => "ip daddr != 127.0.0.0/8".into(),
        Match::NotToLoopback(Family::Ipv6) => "ip6 daddr != ::1".into(),
        Match::InInterface(name) => format!("iifname \"{name}\""),
        Match::OutInterface(name) => format!("oifname \"{name}\""),
        Match::Uid(uid) => format!("meta skuid {uid}"),
        Match::Gid(gid) => format!("meta skgid {gid}"),
        Match::In(set) => {
            let field = match set.field() {
                Field::DestinationPort => "tcp dport".into(),
                Field::Source(family) => format!("{} saddr", protocol(family)),
                Field::Destination(family) => format!("{} daddr", protocol(family)),
                Field::Uid => "meta skuid".into(),
            };
            format!("{field} @{}", set.as_str())
        }
    }
}

fn protocol(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ip6",
    }
}

/// A number, an address, a prefix, or a range.
fn interval(key: Key, interval: &Interval) -> String {
    let number = |bytes: &[u8]| bytes.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    let (first, last) = (number(&interval.first), number(&interval.last));
    let one = |number: u128| match key {
        Key::Port | Key::Uid => number.to_string(),
        Key::Ipv4 => IpAddr::V4(Ipv4Addr::from_bits(number as u32)).to_string(),
        Key::Ipv6 => IpAddr::V6(Ipv6Addr::from_bits(number)).to_string(),
    };
    let network = match key {
        Key::Port | Key::Uid => None,
        Key::Ipv4 => prefix(first, last, 32),
        Key::Ipv6 => prefix(first, last, 128),
    };
    match network {
        _ if first == last => one(first),
        Some(length) => format!("{}/{length}", one(first)),
        None => format!("{}-{}", one(first), one(last)),
    }
}

/// The length of the prefix that covers exactly this range, if there is one.
fn prefix(first: u128, last: u128, bits: u32) -> Option<u32> {
    let host = first ^ last; // all bits that vary
    let exact = host.wrapping_add(1) & host == 0 && first & host == 0;
    exact.then(|| bits - host.count_ones())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::rules;
    use mesh_config::{Capture, capture::parse_cidrs};

    /// Refreshed with `UPDATE_GOLDEN=1`.
    fn golden(name: &str, capture: &Capture) {
        let path = format!("{}/src/nft/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = text(&rules(capture).unwrap());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(path).unwrap(), "{name}");
    }

    #[test]
    fn the_default_rules_read_like_the_design() {
        golden("default.nft", &Capture::default());
    }

    #[test]
    fn every_setting_has_its_rule() {
        let capture = Capture {
            ip_families: mesh_config::capture::IpFamilies::Dual,
            include_inbound_ports: Some("8080".parse().unwrap()),
            exclude_inbound_ports: "9000-9010,9999".parse().unwrap(),
            exclude_inbound_cidrs: parse_cidrs("10.1.0.0/16,fd01::/16").unwrap(),
            include_outbound_ports: Some("80,443".parse().unwrap()),
            include_outbound_cidrs: Some(parse_cidrs("10.96.0.0/12,fd96::/112").unwrap()),
            exclude_outbound_ports: "5432,65535".parse().unwrap(),
            exclude_outbound_cidrs: parse_cidrs("169.254.169.254/32,10.2.0.0/24,10.2.1.0/24,10.2.2.0/24").unwrap(),
            exclude_outbound_uids: "0,1000-1010".parse().unwrap(),
            exclude_interfaces: vec!["eth1".into(), "lo".into(), "eth1".into()],
            ..Capture::default()
        };
        golden("everything.nft", &capture);
    }

    #[test]
    fn ranges_that_are_networks_are_written_as_such() {
        for (first, last, bits, want) in [
            (0x0a00_0000u128, 0x0aff_ffff, 32, Some(8)),
            (0, 0xffff_ffff, 32, Some(0)),
            (0, u128::MAX, 128, Some(0)),
            (1, 2, 32, None),
            (2, 3, 32, Some(31)),
            (1, 1, 32, Some(32)),
        ] {
            assert_eq!(prefix(first, last, bits), want, "{first:x}-{last:x}");
        }
    }
}
