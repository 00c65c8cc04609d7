//! As whom it runs, and what it says when it can't.

use e2e::netns::{Init, Namespace, Packet, Privilege, Topology, Verdict};
use mesh_config::Capture;
use std::collections::BTreeMap;

#[test]
fn as_root_and_as_injected_the_rules_are_the_same() {
    let [root, injected] = [(); 2].map(|()| Topology::new().unwrap());
    let init = Init::find().unwrap();
    let outcome = init.run(&root.pod, Privilege::Root, &Capture::default(), &[]).unwrap();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    init.apply(&injected.pod, &Capture::default()).unwrap();
    let list = |topology: &Topology| topology.pod.tool("nft list ruleset").unwrap();
    assert_eq!(list(&root), list(&injected));
    super::check_in(&root, &Capture::default(), &[(Packet::from_app("10.77.0.1:80"), Verdict::ToOutbound)]);
}

#[test]
fn success_is_one_line() {
    let topology = Topology::new().unwrap();
    let outcome = Init::find().unwrap().apply(&topology.pod, &Capture::default()).unwrap();
    let (line, time) = outcome.stdout.trim_end().rsplit_once("; ").unwrap();
    assert_eq!(
        line,
        "capture in place: chains 4, rules 13, sets 1, ranges 3; IPv4 proven by 192.0.2.1:80; \
         IPv6 proven by [2001:db8::1]:80"
    );
    assert!(time.ends_with(" ms"), "{time}");
    assert_eq!((outcome.stdout.lines().count(), outcome.stderr.as_str()), (1, ""));
}

#[test]
fn without_the_capability_it_names_both_ways_out_and_changes_nothing() {
    let topology = Topology::new().unwrap();
    let init = Init::find().unwrap();
    for (who, first) in [
        (Privilege::NotGranted, "no capability NET_ADMIN, and this container can't have it"),
        (Privilege::LostFileCapability, "no capability NET_ADMIN for uid 65534, although this container may have it"),
    ] {
        for flags in [&[][..], &["--verify-only"], &["--clean-up"]] {
            let outcome = init.run(&topology.pod, who, &Capture::default(), flags).unwrap();
            assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
            for words in [first, "`init.runAsRoot: true`", "add: [NET_ADMIN]"] {
                assert!(outcome.stderr.contains(words), "{words}: {outcome:?}");
            }
        }
    }
    assert_eq!(topology.pod.tool("nft list ruleset").unwrap(), "");
}

#[test]
fn bad_settings_are_all_named_and_change_nothing() {
    let namespace = Namespace::new().unwrap();
    let env = BTreeMap::from([
        ("OUTRIGGER_EXCLUDE_OUTBOUND_PORTS", "80,http".to_owned()),
        ("OUTRIGGER_EXCLUDE_OUTBOUND_CIDRS", "10.1.2.3/8".to_owned()),
        ("OUTRIGGER_EXCLUDE_INTERFACES", "eth*".to_owned()),
        ("OUTRIGGER_CAPTURE_MODE", "tproxy".to_owned()),
    ]);
    for flags in [&[][..], &["--dry-run"], &["--verify-only"]] {
        let outcome = Init::find().unwrap().run_with(&namespace, Privilege::Injected, &env, flags).unwrap();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(64), ""), "{outcome:?}");
        for words in ["_PORTS: 'http' is not a port", "write 10.0.0.0/8", "'tproxy' is none of redirect or none"] {
            assert!(outcome.stderr.contains(words), "{words}: {outcome:?}");
        }
    }
    let env = BTreeMap::from([("OUTRIGGER_EXCLUDE_INTERFACES", "eth*".to_owned())]);
    let outcome = Init::find().unwrap().run_with(&namespace, Privilege::Injected, &env, &[]).unwrap();
    assert_eq!(outcome.code, Some(64));
    assert!(outcome.stderr.contains("'eth*'"), "{outcome:?}");
    assert_eq!(namespace.tool("nft list ruleset").unwrap(), "");
}

#[test]
fn odd_arguments_are_refused_with_the_known_ones() {
    let namespace = Namespace::new().unwrap();
    let init = Init::find().unwrap();
    for flags in [&["--apply"][..], &[""], &["--dry-run", "--clean-up"], &["--dry-run=yes"]] {
        let outcome = init.run(&namespace, Privilege::Injected, &Capture::default(), flags).unwrap();
        assert_eq!(outcome.code, Some(64), "{outcome:?}");
        assert!(outcome.stderr.contains("--dry-run, --clean-up, --verify-only, --help"), "{outcome:?}");
    }
    let help = init.run(&namespace, Privilege::NotGranted, &Capture::default(), &["--help"]).unwrap();
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("OUTRIGGER_EXCLUDE_INBOUND_CIDRS"), "{help:?}");
}
