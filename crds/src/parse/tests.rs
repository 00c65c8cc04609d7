//! Policies as nobody should have been able to store them, and what is made of them.

use super::*;
use crate::scalars::{Duration, IpBlock, Method, Name, Port};
use crate::{Action, Operation, Peer};
use serde_json::json;

fn policy(spec: Value) -> Value {
    json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "MeshPolicy",
        "metadata": {
            "name": "reviews", "namespace": "shop", "uid": "u-1", "generation": 4,
            "creationTimestamp": "2026-01-02T03:04:05Z",
        },
        "spec": spec,
    })
}

/// `spec` for the Service reviews, with `authorization`.
fn authorization(value: Value) -> (Option<AuthorizationReading>, Vec<(String, ProblemKind)>) {
    let reading =
        read(&policy(json!({"targetRefs": [{"kind": "Service", "name": "reviews"}], "authorization": value})));
    assert_eq!((reading.targets.len(), reading.unreadable_targets), (1, false));
    (reading.authorization, reading.problems.into_iter().map(|problem| (problem.path, problem.kind)).collect())
}

fn rule(name: &str, action: Action, from: Vec<Peer>, to: Vec<Operation>) -> AuthRule {
    AuthRule { name: Name(name.into()), action, from, to }
}

fn office() -> Peer {
    Peer { ip_blocks: vec![IpBlock::parse("10.0.0.0/8").unwrap()], not: None }
}

fn port(port: u16) -> Operation {
    Operation { ports: vec![Port(port)], methods: vec![], paths: vec![] }
}

#[test]
fn a_sound_policy_is_read_as_it_stands() {
    let reading = read(&policy(json!({
        "targetRefs": [
            {"kind": "Service", "name": "reviews", "sectionName": "http"},
            {"kind": "Namespace", "name": "shop"},
        ],
        "mode": "DryRun",
        "priority": 7,
        "authorization": {"default": "Deny", "rules": [
            {"name": "a", "action": "Allow", "from": [{"ipBlocks": ["10.0.0.0/8"]}], "to": [{"ports": [80]}]},
        ]},
        "routes": [{"name": "slow", "timeouts": {"request": "1m30s"}}],
        "telemetry": {"accessLog": {"format": "JSON"}},
    })));
    let want = rule("a", Action::Allow, vec![office()], vec![port(80)]);
    assert_eq!(reading.problems, []);
    assert_eq!(reading.reason(), None);
    assert_eq!((reading.namespace.as_str(), reading.name.as_str(), reading.uid.as_str()), ("shop", "reviews", "u-1"));
    assert_eq!((reading.generation, reading.mode, reading.priority), (4, Mode::DryRun, 7));
    assert_eq!(reading.created.map(|time| time.0.to_string()).as_deref(), Some("2026-01-02T03:04:05Z"));
    let targets: Vec<_> = reading.targets.iter().map(|target| (target.to_string(), target.specificity())).collect();
    assert_eq!(targets, [("Service/reviews:http".to_owned(), 3), ("Namespace".to_owned(), 0)]);
    assert_eq!(
        reading.authorization,
        Some(AuthorizationReading { default: Some(Verdict::Deny), rules: vec![RuleReading::Understood(want)] })
    );
    let timeouts = reading.routes.get().unwrap()[0].timeouts.clone().unwrap();
    assert_eq!(timeouts.request, Some(Duration(mesh_config::Duration::from_secs(90))));
    assert_eq!(reading.protocol, Section::Absent);
    assert!(reading.telemetry.get().is_some());
}

#[test]
fn an_allow_rule_that_is_not_fully_understood_allows_nothing() {
    use ProblemKind::{Invalid, UnknownField};
    for (fields, path, kind) in [
        (json!({"when": []}), ".when", UnknownField),
        (json!({"from": []}), ".from", Invalid),
        (json!({"from": null}), ".from", Invalid),
        (json!({"from": {}}), ".from", Invalid),
        (json!({"from": [{}]}), ".from[0]", Invalid),
        (json!({"from": [{"principals": ["x"]}]}), ".from[0].principals", UnknownField),
        (json!({"from": [{"ipBlocks": ["10.0.0.0/8"], "principals": []}]}), ".from[0].principals", UnknownField),
        (json!({"from": [{"ipBlocks": ["10.0.0.0/8", "10.0.0.0/99"]}]}), ".from[0].ipBlocks[1]", Invalid),
        (json!({"from": [{"not": {"ipBlocks": null}}]}), ".from[0].not.ipBlocks", Invalid),
        (json!({"to": [{"methods": ["get"]}]}), ".to[0].methods[0]", Invalid),
        (
            json!({"to": [{"paths": [{"value": "/a", "ignoreCase": false}]}]}),
            ".to[0].paths[0].ignoreCase",
            UnknownField,
        ),
        (json!({"name": "No Label"}), ".name", Invalid),
    ] {
        let mut raw = json!({"name": "a", "action": "Allow"});
        raw.as_object_mut().unwrap().append(&mut fields.as_object().unwrap().clone());
        let (reading, problems) = authorization(json!({"rules": [raw]}));
        assert_eq!(problems, [(format!("spec.authorization.rules[0]{path}"), kind)], "{fields}");
        let reading = reading.unwrap();
        // the default stays unset: the rule that is there brings Deny with it
        assert_eq!(reading.default, None, "{fields}");
        let [RuleReading::AllowsNothing { name, reason }] = &reading.rules[..] else { panic!("{fields}: {reading:?}") };
        assert_eq!(name, if path == ".name" { "rule-0" } else { "a" }, "{fields}");
        assert!(reason.starts_with(&format!("spec.authorization.rules[0]{path}: ")), "{reason}");
    }
}

#[test]
fn a_deny_rule_loses_what_is_not_understood() {
    let not_office = |not: Value| json!([{"ipBlocks": ["10.0.0.0/8"], "not": not}]);
    for (fields, from, to) in [
        // the rule's own fields
        (
            json!({"when": [], "from": [{"ipBlocks": ["10.0.0.0/8"]}], "to": [{"ports": [80]}]}),
            vec![office()],
            vec![port(80)],
        ),
        (json!({"from": "10.0.0.0/8", "to": [{"ports": [80]}]}), vec![], vec![port(80)]),
        (json!({"from": null, "to": [{"ports": [80]}]}), vec![], vec![port(80)]),
        (json!({"from": [], "to": [{"ports": [80]}]}), vec![], vec![port(80)]),
        // a field of an entry
        (json!({"from": [{"ipBlocks": ["10.0.0.0/8"], "headers": []}]}), vec![office()], vec![]),
        (json!({"to": [{"ports": [80], "headers": []}]}), vec![], vec![port(80)]),
        (json!({"to": [{"ports": [80], "methods": ["get"]}]}), vec![], vec![port(80)]),
        (json!({"to": [{"ports": [80], "paths": [{"value": "/a"}, {"value": "b"}]}]}), vec![], vec![port(80)]),
        (json!({"to": [{"ports": [80], "paths": [{"value": "/a", "ignoreCase": true}]}]}), vec![], vec![port(80)]),
        // half a list of networks would deny less, and an unknown field may narrow what `not` excludes: both are lost
        // whole
        (json!({"from": [{"ipBlocks": ["10.0.0.0/8", "nonsense"]}]}), vec![], vec![]),
        (json!({"from": not_office(json!({"ipBlocks": ["nonsense"]}))}), vec![office()], vec![]),
        (
            json!({"from": not_office(json!({"ipBlocks": ["10.9.0.0/16"], "namespaces": ["x"]}))}),
            vec![office()],
            vec![],
        ),
        (json!({"from": not_office(json!({}))}), vec![office()], vec![]),
        (json!({"from": not_office(json!(null))}), vec![office()], vec![]),
        // an entry of which nothing is left matches everything, whatever the others say
        (json!({"from": [{"ipBlocks": ["10.0.0.0/8"]}, {"principals": ["x"]}]}), vec![], vec![]),
        (json!({"from": [{"ipBlocks": ["10.0.0.0/8"]}, {}]}), vec![], vec![]),
        (json!({"from": [{"ipBlocks": ["10.0.0.0/8"]}, 7]}), vec![], vec![]),
    ] {
        let mut raw = json!({"name": "a", "action": "Deny"});
        raw.as_object_mut().unwrap().append(&mut fields.as_object().unwrap().clone());
        let (reading, problems) = authorization(json!({"rules": [raw]}));
        assert!(!problems.is_empty(), "{fields}");
        let reading = reading.unwrap();
        let [RuleReading::DeniesMore { rule: read, .. }] = &reading.rules[..] else { panic!("{fields}: {reading:?}") };
        assert_eq!(*read, rule("a", Action::Deny, from, to), "{fields}");
    }
}

#[test]
fn a_rule_whose_action_nobody_knows_denies_by_its_readable_conditions() {
    for (raw, name, to) in [
        (json!({"name": "a", "action": "Audit", "to": [{"ports": [80]}]}), "a", vec![port(80)]),
        (json!({"name": "a", "to": [{"ports": [80]}]}), "a", vec![port(80)]),
        (json!({"name": "a", "action": null, "to": [{"ports": [80], "methods": []}]}), "a", vec![port(80)]),
        (json!({"action": "allow"}), "rule-0", vec![]),
        (json!("Deny"), "rule-0", vec![]),
        (json!(null), "rule-0", vec![]),
    ] {
        let (reading, problems) = authorization(json!({"default": "Allow", "rules": [raw]}));
        assert!(!problems.is_empty(), "{raw}");
        let reading = reading.unwrap();
        assert_eq!(reading.default, Some(Verdict::Allow), "{raw}");
        let [RuleReading::DeniesMore { rule: read, .. }] = &reading.rules[..] else { panic!("{raw}: {reading:?}") };
        assert_eq!(*read, rule(name, Action::Deny, vec![], to), "{raw}");
    }
}

#[test]
fn one_bad_rule_leaves_the_others_alone() {
    let good = json!({"name": "good", "action": "Allow", "to": [{"methods": ["GET"]}]});
    let (reading, _) = authorization(json!({"rules": [{"name": "bad", "action": "Allow", "when": 1}, good]}));
    let get = Operation { ports: vec![], methods: vec![Method::Get], paths: vec![] };
    let rules = reading.unwrap().rules;
    assert!(matches!(&rules[0], RuleReading::AllowsNothing { name, .. } if name == "bad"));
    assert_eq!(rules[1], RuleReading::Understood(rule("good", Action::Allow, vec![], vec![get])));
}

#[test]
fn an_authorization_that_cannot_be_read_denies_by_default() {
    for raw in [
        json!("Deny"),
        json!(null),
        json!([]),
        json!({}),
        json!({"default": "deny"}),
        json!({"default": null}),
        json!({"defualt": "Deny"}),
        json!({"default": "Allow", "rules": null}),
        json!({"default": "Allow", "rules": []}),
        json!({"default": "Allow", "rules": {}}),
        json!({"default": "Allow", "mtls": true}),
    ] {
        let (reading, problems) = authorization(raw.clone());
        assert!(!problems.is_empty(), "{raw}");
        assert_eq!(reading, Some(AuthorizationReading { default: Some(Verdict::Deny), rules: vec![] }), "{raw}");
    }
}

#[test]
fn a_broken_section_counts_as_absent_and_the_others_hold() {
    let sound = json!({
        "targetRefs": [{"kind": "Service", "name": "reviews"}],
        "authorization": {"default": "Deny"},
        "protocol": {"ports": [{"port": 80, "protocol": "TCP"}]},
        "routes": [{"name": "a"}, {"name": "b", "timeouts": {"request": "5s"}}],
        "telemetry": {"accessLog": {"filter": "status >= 500"}},
    });
    // the pointer, what is put there, and which of protocol, routes, telemetry are then left
    for (pointer, value, left) in [
        ("/protocol/ports/0/protocol", json!("HTTP/3"), [false, true, true]),
        ("/protocol", json!(null), [false, true, true]),
        ("/routes/1/timeouts/request", json!("5"), [true, false, true]),
        ("/routes/1/name", json!("a"), [true, false, true]),
        ("/routes/0", json!({"name": "a", "filters": []}), [true, false, true]),
        ("/routes", json!([]), [true, false, true]),
        ("/telemetry/accessLog/filter", json!("status >="), [true, true, false]),
        ("/targetRefs/0", json!({"kind": "Namespace"}), [true, false, true]),
    ] {
        let mut spec = sound.clone();
        *spec.pointer_mut(pointer).unwrap() = value;
        let reading = read(&policy(spec));
        assert_eq!(reading.problems.len(), 1, "{pointer}: {:?}", reading.problems);
        let found =
            [reading.protocol.get().is_some(), reading.routes.get().is_some(), reading.telemetry.get().is_some()];
        assert_eq!(found, left, "{pointer}");
        let deny = AuthorizationReading { default: Some(Verdict::Deny), rules: vec![] };
        assert_eq!(reading.authorization, Some(deny), "{pointer}");
    }
}

#[test]
fn a_broken_mode_or_priority_enforces_authorization_and_nothing_else() {
    for (field, value) in
        [("mode", json!("Dryrun")), ("mode", json!(1)), ("priority", json!("1")), ("priority", json!(1.5))]
    {
        let mut spec = json!({
            "targetRefs": [{"kind": "Service", "name": "reviews"}],
            "authorization": {"default": "Deny"},
            "routes": [{"name": "a"}],
        });
        spec[field] = value.clone();
        let reading = read(&policy(spec));
        assert_eq!((reading.mode, reading.priority), (Mode::Enforce, 0), "{field}: {value}");
        assert_eq!((reading.routes, reading.protocol), (Section::Broken, Section::Absent), "{field}: {value}");
        assert!(reading.authorization.is_some(), "{field}: {value}");
        assert_eq!(reading.problems.len(), 1, "{field}: {value}");
    }
}

#[test]
fn targets_that_cannot_be_read_are_said_to_be_there() {
    let reviews = json!({"kind": "Service", "name": "reviews"});
    for (targets, readable, unreadable) in [
        (json!([reviews]), 1, false),
        (json!([reviews, {"kind": "Mesh"}]), 1, true),
        (json!([reviews, {"kind": "Service", "name": "other", "port": 80}]), 1, true),
        (json!([reviews, {"kind": "Pod", "selector": {"matchLabels": {"a": "b"}, "matchExpressions": []}}]), 1, true),
        (json!([reviews, {"kind": "Pod", "selector": {}}]), 1, true),
        (json!([{"kind": "Service"}]), 0, true),
        (json!([]), 0, true),
        (json!("reviews"), 0, true),
        (json!(null), 0, true),
        // it can be read, and is none of this policy's business
        (json!([{"kind": "Namespace", "name": "other"}]), 0, false),
    ] {
        let reading = read(&policy(json!({"targetRefs": targets, "authorization": {"default": "Deny"}})));
        assert_eq!((reading.targets.len(), reading.unreadable_targets), (readable, unreadable), "{targets}");
        assert_eq!(reading.problems.is_empty(), readable == 1 && !unreadable, "{targets}: {:?}", reading.problems);
    }
}

#[test]
fn for_the_whole_namespace_deny_rules_hold_and_allow_rules_match_nothing() {
    let (reading, _) = authorization(json!({"rules": [
        {"name": "allow", "action": "Allow"},
        {"name": "deny", "action": "Deny", "to": [{"ports": [80]}]},
    ]}));
    let strict = reading.unwrap().for_unreadable_targets();
    assert_eq!(
        strict,
        AuthorizationReading {
            default: None,
            rules: vec![
                RuleReading::AllowsNothing { name: "allow".into(), reason: "targetRefs can't be read".into() },
                RuleReading::Understood(rule("deny", Action::Deny, vec![], vec![port(80)])),
            ],
        }
    );
}

#[test]
fn an_object_without_a_spec_is_a_problem_and_no_panic() {
    for raw in [json!({}), json!(null), json!([1]), json!({"metadata": 1, "spec": 1}), policy(json!([]))] {
        let reading = read(&raw);
        assert_eq!(reading.problems.len(), 1, "{raw}: {:?}", reading.problems);
        assert_eq!((reading.authorization, reading.unreadable_targets), (None, true), "{raw}");
    }
}

#[test]
fn an_unknown_field_is_the_reason_that_is_shown() {
    let mut raw = policy(json!({
        "targetRefs": [{"kind": "Service", "name": "reviews"}],
        "authorization": {"rules": [{"name": "a", "action": "Allow", "when": 1, "from": []}]},
    }));
    assert_eq!(read(&raw).reason(), Some(ProblemKind::UnknownField));
    raw["spec"]["authorization"]["rules"][0].as_object_mut().unwrap().remove("when");
    assert_eq!(read(&raw).reason(), Some(ProblemKind::Invalid));
}
