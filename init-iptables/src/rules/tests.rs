//! The rules as they are written: order, families, sets. Where packets really go is the matter of
//! `e2e/tests/netns_capture.rs`, whose verdicts come from another reading of the design.

use super::*;
use mesh_config::capture::parse_cidrs;

fn ruleset(change: impl FnOnce(&mut Capture)) -> Ruleset {
    let mut capture = Capture::default();
    change(&mut capture);
    rules(&capture).unwrap()
}

fn chain(ruleset: &Ruleset, name: ChainName) -> &[Rule] {
    &ruleset.chains.iter().find(|chain| chain.name == name).unwrap().rules
}

/// The last match and the verdict of each rule.
fn ends(rules: &[Rule]) -> Vec<(Match, Verdict)> {
    rules.iter().map(|rule| (rule.matches.last().unwrap().clone(), rule.verdict)).collect()
}

#[test]
fn without_capture_there_are_no_rules() {
    assert_eq!(rules(&Capture { mode: Mode::None, ..Capture::default() }), None);
}

#[test]
fn the_outbound_order_is_the_designs() {
    let ruleset = ruleset(|c| {
        c.exclude_interfaces = vec!["eth1".into()];
        c.exclude_outbound_ports = "22".parse().unwrap();
        c.exclude_outbound_cidrs = parse_cidrs("10.0.0.0/8").unwrap();
        c.exclude_outbound_uids = "0".parse().unwrap();
    });
    let lo = || Match::OutInterface("lo".into());
    let set = Match::In;
    assert_eq!(
        ends(chain(&ruleset, ChainName::Outbound)),
        [
            (Match::Source(names::PASSTHROUGH_V4.into()), Verdict::Leave),
            (Match::Source(names::PASSTHROUGH_V6.into()), Verdict::Leave),
            (Match::Gid(1337), Verdict::Jump(ChainName::Inbound)),
            (Match::Gid(1337), Verdict::Jump(ChainName::Inbound)),
            (Match::Gid(1337), Verdict::Leave),
            (lo(), Verdict::Leave),
            (Match::ToLoopback(Family::Ipv4), Verdict::Leave),
            (Match::ToLoopback(Family::Ipv6), Verdict::Leave),
            (Match::OutInterface("eth1".into()), Verdict::Leave),
            (set(SetName::ExcludedOutboundPorts), Verdict::Leave),
            (set(SetName::ExcludedDestinations(Family::Ipv4)), Verdict::Leave),
            (set(SetName::ExcludedUids), Verdict::Leave),
            (Match::Tcp, Verdict::Redirect(15001)),
        ]
    );
}

#[test]
fn the_proxy_is_known_by_user_and_group_together() {
    let ruleset = ruleset(|_| ());
    for rule in chain(&ruleset, ChainName::Outbound) {
        let has = |wanted: &Match| rule.matches.contains(wanted);
        assert_eq!(has(&Match::Uid(1337)), has(&Match::Gid(1337)), "{rule:?}");
    }
}

#[test]
fn the_inbound_order_is_the_designs() {
    let ruleset = ruleset(|c| {
        c.exclude_interfaces = vec!["eth1".into()];
        c.exclude_inbound_ports = "9090".parse().unwrap();
        c.exclude_inbound_cidrs = parse_cidrs("fd00::/8").unwrap();
        c.include_inbound_ports = Some("80".parse().unwrap());
    });
    assert_eq!(
        ends(chain(&ruleset, ChainName::Inbound)),
        [
            (Match::In(SetName::OwnPorts), Verdict::Leave),
            (Match::InInterface("eth1".into()), Verdict::Leave),
            (Match::In(SetName::ExcludedInboundPorts), Verdict::Leave),
            (Match::In(SetName::ExcludedSources(Family::Ipv6)), Verdict::Leave),
            (Match::In(SetName::IncludedInboundPorts), Verdict::Redirect(15006)),
        ]
    );
}

#[test]
fn one_family_alone_leaves_no_trace_of_the_other() {
    for (ip_families, own, other) in
        [(IpFamilies::Ipv4, Family::Ipv4, Family::Ipv6), (IpFamilies::Ipv6, Family::Ipv6, Family::Ipv4)]
    {
        let ruleset = ruleset(|c| {
            c.ip_families = ip_families;
            c.exclude_outbound_cidrs = parse_cidrs("10.0.0.0/8,fd00::/8").unwrap();
            c.exclude_inbound_cidrs = c.exclude_outbound_cidrs.clone();
        });
        assert_eq!(chain(&ruleset, ChainName::Prerouting)[0].matches, [Match::Family(own), Match::Tcp]);
        assert_eq!(chain(&ruleset, ChainName::Output)[0].matches, [Match::Family(own), Match::Tcp]);
        let text = format!("{ruleset:?}");
        assert!(!text.contains(&format!("{other:?}")), "{text}");
    }
}

#[test]
fn an_include_list_replaces_the_last_rule_and_an_empty_one_captures_nothing() {
    let outbound = ruleset(|c| {
        c.include_outbound_ports = Some("80".parse().unwrap());
        c.include_outbound_cidrs = Some(parse_cidrs("10.0.0.0/8").unwrap());
    });
    let rules = ends(chain(&outbound, ChainName::Outbound));
    assert_eq!(
        rules[rules.len() - 2..],
        [
            (Match::In(SetName::IncludedOutboundPorts), Verdict::Redirect(15001)),
            (Match::In(SetName::IncludedDestinations(Family::Ipv4)), Verdict::Redirect(15001)),
        ]
    );
    let nothing = ruleset(|c| {
        c.include_outbound_cidrs = Some(vec![]);
        c.include_inbound_ports = Some(PortSet::default());
    });
    let redirects = |rule: &&Rule| matches!(rule.verdict, Verdict::Redirect(_));
    assert_eq!(nothing.chains.iter().flat_map(|chain| &chain.rules).filter(redirects).count(), 0);
}

#[test]
fn sets_exist_exactly_where_a_rule_looks_into_them() {
    let ruleset = ruleset(|c| {
        c.exclude_outbound_cidrs = parse_cidrs("10.0.0.0/8").unwrap();
        c.exclude_outbound_uids = "5".parse().unwrap();
    });
    let names: Vec<_> = ruleset.sets.iter().map(|set| set.name).collect();
    assert_eq!(names, [SetName::OwnPorts, SetName::ExcludedDestinations(Family::Ipv4), SetName::ExcludedUids]);
    let looked_into = ruleset.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.matches);
    let looked_into = looked_into.filter_map(|one| if let Match::In(name) = one { Some(*name) } else { None });
    assert_eq!(looked_into.collect::<std::collections::BTreeSet<_>>(), names.into_iter().collect());
}
