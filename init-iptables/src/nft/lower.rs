//! From the rules to nf_tables' expressions, in the form that nft itself would send for `nft -f` of
//! [`mod@super::text`].

use super::expression::Expression;
use super::interval::intervals;
use super::kernel::{NF_ACCEPT, NF_IP_PRI_NAT_DST};
use super::program::{Chain, Hook, Key, Program, Rule, Set};
use crate::ruleset::{self, ChainName, Family, Field, Match, Ruleset, SetName, Verdict};
use std::net::IpAddr;

/// What the kernel is to hold.
pub fn lower(ruleset: &Ruleset) -> Program {
    Program {
        dormant: false,
        sets: ruleset.sets.iter().map(set).collect(),
        chains: ruleset.chains.iter().map(chain).collect(),
    }
}

fn set(set: &ruleset::Set) -> Set {
    Set { name: set.name.as_str().into(), key: Some(key(set.name)), intervals: intervals(&set.elements) }
}

/// What a set's keys are.
pub fn key(name: SetName) -> Key {
    match name.field() {
        Field::DestinationPort => Key::Port,
        Field::Uid => Key::Uid,
        Field::Source(Family::Ipv4) | Field::Destination(Family::Ipv4) => Key::Ipv4,
        Field::Source(Family::Ipv6) | Field::Destination(Family::Ipv6) => Key::Ipv6,
    }
}

fn chain(chain: &ruleset::Chain) -> Chain {
    Chain { name: chain.name.as_str().into(), hook: hook(chain.name), rules: chain.rules.iter().map(rule).collect() }
}

fn hook(name: ChainName) -> Option<Hook> {
    let at = |number: libc::c_int| {
        Some(Hook { number: number as u32, priority: NF_IP_PRI_NAT_DST, policy: NF_ACCEPT, kind: "nat".into() })
    };
    match name {
        ChainName::Prerouting => at(libc::NF_INET_PRE_ROUTING),
        ChainName::Output => at(libc::NF_INET_LOCAL_OUT),
        ChainName::Inbound | ChainName::Outbound => None,
    }
}

fn rule(rule: &ruleset::Rule) -> Rule {
    let mut expressions: Vec<Expression> = rule.matches.iter().flat_map(matching).collect();
    expressions.push(match rule.verdict {
        Verdict::Leave => Expression::Return,
        Verdict::Jump(chain) => Expression::Jump(chain.as_str().into()),
        Verdict::Redirect(port) => Expression::Redirect(port),
    });
    Rule { expressions, comment: rule.why.into() }
}

fn matching(condition: &Match) -> Vec<Expression> {
    let meta = |key: libc::c_int, value: Vec<u8>| vec![Expression::Meta(key as u32), Expression::Equal(value)];
    match condition {
        Match::Tcp => meta(libc::NFT_META_L4PROTO, vec![libc::IPPROTO_TCP as u8]),
        Match::Family(family) => of_family(*family),
        Match::Source(IpAddr::V4(address)) => {
            [of_family(Family::Ipv4), vec![source(Family::Ipv4), Expression::Equal(address.octets().into())]].concat()
        }
        Match::Source(IpAddr::V6(address)) => {
            [of_family(Family::Ipv6), vec![source(Family::Ipv6), Expression::Equal(address.octets().into())]].concat()
        }
        Match::ToLoopback(family) => to_loopback(*family, Expression::Equal),
        Match::NotToLoopback(family) => to_loopback(*family, Expression::NotEqual),
        Match::InInterface(name) => meta(libc::NFT_META_IIFNAME, interface(name)),
        Match::OutInterface(name) => meta(libc::NFT_META_OIFNAME, interface(name)),
        Match::Uid(uid) => meta(libc::NFT_META_SKUID, uid.to_ne_bytes().into()),
        Match::Gid(gid) => meta(libc::NFT_META_SKGID, gid.to_ne_bytes().into()),
        Match::In(set) => {
            let mut all = match set.field() {
                // the third and fourth byte of a TCP header
                Field::DestinationPort => {
                    vec![Expression::Payload { base: libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32, offset: 2, length: 2 }]
                }
                Field::Source(family) => [of_family(family), vec![source(family)]].concat(),
                Field::Destination(family) => [of_family(family), vec![destination(family)]].concat(),
                Field::Uid => vec![Expression::Meta(libc::NFT_META_SKUID as u32), Expression::HostToNetwork32],
            };
            all.push(Expression::InSet(set.as_str().into()));
            all
        }
    }
}

/// In an `inet` table both families pass: nothing of a header may be read before this.
fn of_family(family: Family) -> Vec<Expression> {
    let number = match family {
        Family::Ipv4 => libc::NFPROTO_IPV4,
        Family::Ipv6 => libc::NFPROTO_IPV6,
    };
    vec![Expression::Meta(libc::NFT_META_NFPROTO as u32), Expression::Equal(vec![number as u8])]
}

fn source(family: Family) -> Expression {
    match family {
        Family::Ipv4 => network_header(12, 4),
        Family::Ipv6 => network_header(8, 16),
    }
}

fn destination(family: Family) -> Expression {
    match family {
        Family::Ipv4 => network_header(16, 4),
        Family::Ipv6 => network_header(24, 16),
    }
}

fn network_header(offset: u32, length: u32) -> Expression {
    Expression::Payload { base: libc::NFT_PAYLOAD_NETWORK_HEADER as u32, offset, length }
}

fn to_loopback(family: Family, compare: fn(Vec<u8>) -> Expression) -> Vec<Expression> {
    let mut all = of_family(family);
    match family {
        // 127.0.0.0/8 is its first byte
        Family::Ipv4 => all.extend([network_header(16, 1), compare(vec![127])]),
        Family::Ipv6 => {
            all.extend([destination(family), compare(std::net::Ipv6Addr::LOCALHOST.octets().into())]);
        }
    }
    all
}

/// The kernel compares all `IFNAMSIZ` bytes of a name.
fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(libc::IFNAMSIZ, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::rules;
    use mesh_config::Capture;

    #[test]
    fn the_default_rules_are_those_of_the_design() {
        let program = lower(&rules(&Capture::default()).unwrap());
        let sets: Vec<_> = program.sets.iter().map(|set| (set.name.as_str(), set.key, set.intervals.len())).collect();
        assert_eq!(sets, [("own_ports", Some(Key::Port), 3)]);
        let chains = program.chains.iter();
        let chains: Vec<_> =
            chains.map(|c| (c.name.as_str(), c.hook.as_ref().map(|h| (h.number, h.priority)), c.rules.len())).collect();
        assert_eq!(
            chains,
            [
                ("prerouting", Some((0, -100)), 1),
                ("inbound", None, 2),
                ("output", Some((3, -100)), 1),
                ("outbound", None, 9),
            ]
        );
        assert_eq!(
            program.chains[1].rules[0].expressions,
            [
                Expression::Meta(16),
                Expression::Equal(vec![6]),
                Expression::Payload { base: 2, offset: 2, length: 2 },
                Expression::InSet("own_ports".into()),
                Expression::Return,
            ]
        );
    }

    #[test]
    fn users_are_compared_in_network_order_in_a_set_and_in_the_machines_order_alone() {
        assert_eq!(
            matching(&Match::In(SetName::ExcludedUids)),
            [Expression::Meta(10), Expression::HostToNetwork32, Expression::InSet("out_excluded_uids".into())]
        );
        assert_eq!(
            matching(&Match::Uid(1337)),
            [Expression::Meta(10), Expression::Equal(1337u32.to_ne_bytes().into())]
        );
    }
}
