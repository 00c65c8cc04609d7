//! The goldens in `testdata/compile` show most of what is said; here is what they don't.

use super::*;
use crate::index::Key;
use crate::testing;

#[test]
fn many_problems_make_one_message_that_ends() {
    let problem = |n: usize| (Reason::Invalid, format!("spec.routes[{n}]: {}", "long ".repeat(20)));
    let refusal = refuse((0..50).map(problem).collect()).unwrap_err();
    assert!(refusal.message.len() < MESSAGE + 20, "{}", refusal.message.len());
    assert!(refusal.message.ends_with("; and 42 more"), "{}", refusal.message);
    // one alone is never cut away
    let long = refuse(vec![(Reason::Invalid, "x".repeat(2 * MESSAGE))]).unwrap_err();
    assert_eq!(long.message.len(), 2 * MESSAGE);
}

#[test]
fn a_field_that_nobody_knows_is_the_reason_whatever_else_is_wrong() {
    let found =
        vec![(Reason::Invalid, "a".into()), (Reason::UnknownField, "b".into()), (Reason::TargetNotFound, "c".into())];
    assert_eq!(refuse(found), Err(Refusal { reason: Reason::UnknownField, message: "b; a; c".into() }));
}

#[test]
fn pods_meet_only_where_it_is_certain() {
    let index = testing::index(
        "{kind: MeshPolicy, metadata: {namespace: shop, name: all}, spec: {targetRefs: [{kind: Pod, selector: {matchLabels: {app: a}}}], protocol: {detectTimeout: 1s}}}
---
{kind: MeshPolicy, metadata: {namespace: shop, name: some}, spec: {targetRefs: [{kind: Pod, selector: {matchLabels: {app: a, v: v1}}}], protocol: {detectTimeout: 2s}, priority: 1}}
---
{kind: MeshPolicy, metadata: {namespace: shop, name: others}, spec: {targetRefs: [{kind: Pod, selector: {matchLabels: {tier: t}}}], protocol: {detectTimeout: 3s}}}
---
{kind: MeshPolicy, metadata: {namespace: shop, name: trial}, spec: {mode: DryRun, targetRefs: [{kind: Pod, selector: {matchLabels: {app: a}}}], protocol: {detectTimeout: 4s}}}
---
{kind: MeshPolicy, metadata: {namespace: other, name: elsewhere}, spec: {targetRefs: [{kind: Pod, selector: {matchLabels: {app: a}}}], protocol: {detectTimeout: 5s}}}",
    );
    let conflicts = |name: &str| judge(&index, index.policy(&Key::new("shop", name)).unwrap()).conflicts;
    let conflict = |with: &str| {
        vec![Conflict { field: "protocol.detectTimeout".into(), with: with.into(), winner: "shop/some".into() }]
    };
    assert_eq!(conflicts("all"), conflict("shop/some"));
    assert_eq!(conflicts("some"), conflict("shop/all"));
    assert_eq!((conflicts("others"), conflicts("trial")), (vec![], vec![]));
}
