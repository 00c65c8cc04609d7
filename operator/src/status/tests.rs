//! Conditions: which times are kept, what waits, what a document's fate does to `Programmed`.

use super::*;
use crate::index::Key;
use crate::judge::judge;
use crate::testing;
use jiff::Timestamp;

const CLUSTER: &str = "
{kind: Namespace, metadata: {name: shop, labels: {outrigger.dev/inject: enabled}}}
---
{kind: Namespace, metadata: {name: other, labels: {outrigger.dev/inject: enabled}}}
---
{kind: Service, metadata: {namespace: shop, name: a}, spec: {clusterIP: 10.0.0.1, selector: {app: a}, ports: [{port: 80}]}}
---
{kind: MeshPolicy, metadata: {namespace: shop, name: callers}, spec: {targetRefs: [{kind: Service, name: a}], routes: [{name: r}]}}
---
{kind: MeshPolicy, metadata: {namespace: shop, name: called}, spec: {targetRefs: [{kind: Namespace}], authorization: {default: Deny}}}
";

fn at(second: i64) -> Timestamp {
    Timestamp::from_millisecond(second * 1000 + 123).unwrap()
}

fn documents(list: &[(&str, Outcome)]) -> Documents {
    Documents(list.iter().map(|(name, outcome)| ((*name).to_owned(), outcome.clone())).collect())
}

fn written(hash: &str) -> Outcome {
    Outcome::Written { hash: hash.into() }
}

fn of(index: &Index, name: &str, documents: &Documents, second: i64) -> Option<MeshPolicyStatus> {
    let policy = index.policy(&Key::new("shop", name)).unwrap();
    status(index, policy, &judge(index, policy), documents, at(second))
}

fn programmed(status: &MeshPolicyStatus) -> (&str, &str) {
    let condition = status.conditions.iter().find(|condition| condition.type_ == "Programmed").unwrap();
    (&condition.status, &condition.reason)
}

#[test]
fn programmed_waits_for_every_document_that_holds_the_policy_and_for_no_other() {
    let index = testing::index(CLUSTER);
    let large = Outcome::TooLarge { kib: 1024 };
    let failed = Outcome::Failed { message: "no".into() };
    let refused = Outcome::Refused { message: "no".into() };
    let none = documents(&[]);
    let own = documents(&[("shop", written("h1"))]);
    let both = documents(&[("shop", written("h1")), ("other", written("h2"))]);
    assert_eq!((of(&index, "called", &none, 0), of(&index, "callers", &own, 0)), (None, None));
    for (name, documents, want) in [
        ("called", &own, ("True", "Programmed")),
        ("callers", &both, ("True", "Programmed")),
        ("callers", &documents(&[("shop", written("h1")), ("other", large.clone())]), ("False", "TooLarge")),
        ("callers", &documents(&[("shop", large.clone()), ("other", failed)]), ("False", "WriteFailed")),
        ("called", &documents(&[("shop", refused), ("other", written("h2"))]), ("False", "InvalidDocument")),
        ("called", &documents(&[("shop", large.clone())]), ("False", "TooLarge")),
        ("called", &documents(&[("shop", written("h1")), ("other", large)]), ("True", "Programmed")),
    ] {
        assert_eq!(programmed(&of(&index, name, documents, 0).unwrap()), want, "{name} {documents:?}");
    }
}

#[test]
fn the_whole_status_of_a_good_policy() {
    let index = testing::index(CLUSTER);
    let got = of(&index, "called", &documents(&[("shop", written("sha256:1"))]), 5).unwrap();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        serde_json::json!({"type": kind, "status": status, "reason": reason, "message": message,
            "observedGeneration": 1, "lastTransitionTime": "1970-01-01T00:00:05Z"})
    };
    let want = serde_json::json!({
        "observedGeneration": 1,
        "summary": {"target": "Namespace", "hash": "sha256:1"},
        "conditions": [
            condition("Accepted", "True", "Accepted", "the policy makes sense"),
            condition("ResolvedRefs", "True", "ResolvedRefs", "all backends are there"),
            condition("Programmed", "True", "Programmed", "it is in the proxies' configuration"),
            condition("Enforced", "Unknown", "NoReports", "proxies do not report yet which configuration they run"),
        ],
        "targets": [{"ref": "Namespace", "hash": "sha256:1"}],
    });
    let mut got = serde_json::to_value(got).unwrap();
    got.as_object_mut().unwrap().retain(|_, value| value != &serde_json::json!([]));
    assert_eq!(got, want);
}

#[test]
fn a_condition_keeps_its_time_as_long_as_it_keeps_its_status() {
    let text = CLUSTER.to_owned();
    let mut index = testing::index(&text);
    let good = documents(&[("shop", written("h1"))]);
    let first = of(&index, "called", &good, 5).unwrap();
    let mut object = testing::objects(&text).remove(4);
    object["status"] = serde_json::to_value(&first).unwrap();
    testing::apply(&mut index, &object);
    assert_eq!(of(&index, "called", &good, 9).unwrap(), first, "what was written and read again is unchanged");

    let hashed = of(&index, "called", &documents(&[("shop", written("h2"))]), 9).unwrap();
    assert!(hashed != first && differs_by_hash_alone(&hashed, &first));

    let bad = of(&index, "called", &documents(&[("shop", Outcome::TooLarge { kib: 1 })]), 9).unwrap();
    assert!(!differs_by_hash_alone(&bad, &first));
    let times: Vec<i64> = bad.conditions.iter().map(|condition| condition.last_transition_time.0.as_second()).collect();
    assert_eq!(times, [5, 5, 9, 5]);
}

#[test]
fn a_summary_names_the_first_target_and_fits() {
    let list = |count: usize, length: usize| vec!["x".repeat(length); count];
    assert_eq!(summary(&[]), "");
    assert_eq!(summary(&["Service/reviews".into()]), "Service/reviews");
    assert_eq!(summary(&list(3, 1)), "x +2");
    assert_eq!(summary(&list(1, 512)).chars().count(), 512);
    assert_eq!(summary(&list(16, 8000)).chars().count(), 512);
    assert!(summary(&list(16, 8000)).ends_with("x… +15"));
}
