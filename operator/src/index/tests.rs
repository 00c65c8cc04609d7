//! What makes a namespace meshed, and what makes anything dirty.

use crate::index::{Dirty, Index, Key};
use crate::testing::{SYSTEM, apply, index, objects};
use serde_json::json;

const POLICY: &str = "{kind: MeshPolicy, metadata: {namespace: shop, name: p, uid: u, generation: 1}, \
    spec: {targetRefs: [{kind: Service, name: a}], routes: [{name: r, timeouts: {request: 1s}}]}}";

#[test]
fn a_namespace_is_meshed_by_its_label_or_by_a_pod_with_a_proxy_unless_it_is_excluded() {
    for (objects, excluded, want) in [
        ("{kind: Namespace, metadata: {name: shop}}", "", vec![]),
        ("{kind: Namespace, metadata: {name: shop, labels: {outrigger.dev/inject: enabled}}}", "", vec!["shop"]),
        ("{kind: Namespace, metadata: {name: shop, labels: {outrigger.dev/inject: disabled}}}", "", vec![]),
        ("{kind: Namespace, metadata: {name: shop, labels: {outrigger.dev/inject: 'true'}}}", "", vec![]),
        ("{kind: Namespace, metadata: {name: shop, labels: {outrigger.dev/inject: enabled}}}", "shop", vec![]),
        (
            "{kind: Namespace, metadata: {name: shop}}
---
{kind: Pod, metadata: {namespace: shop, name: a, labels: {outrigger.dev/proxy: 0.1.0}}}",
            "",
            vec!["shop"],
        ),
        (
            "{kind: Namespace, metadata: {name: shop}}
---
{kind: Pod, metadata: {namespace: shop, name: a, labels: {app: a}}}",
            "",
            vec![],
        ),
        // a Pod whose namespace wasn't heard of yet
        ("{kind: Pod, metadata: {namespace: shop, name: a, labels: {outrigger.dev/proxy: 0.1.0}}}", "", vec![]),
        ("{kind: Namespace, metadata: {name: kube-public, labels: {outrigger.dev/inject: enabled}}}", "", vec![]),
        ("{kind: Namespace, metadata: {name: outrigger-system, labels: {outrigger.dev/inject: enabled}}}", "", vec![]),
    ] {
        let mut index = index(objects);
        index.set_excluded([excluded.to_owned()]);
        assert_eq!(index.meshed().collect::<Vec<_>>(), want, "{objects}");
    }
}

#[test]
fn a_namespace_stays_meshed_until_its_last_proxy_is_gone() {
    let mut index = index("{kind: Namespace, metadata: {name: shop}}");
    let [a, b] = ["a", "b"].map(|name| Key::new("shop", name));
    for (step, meshed) in [
        (&mut (|index: &mut Index| index.apply_pod(&a)) as &mut dyn FnMut(&mut Index), true),
        (&mut |index| index.apply_pod(&b), true),
        (&mut |index| index.delete_pod(&a), true),
        (&mut |index| index.delete_pod(&a), true),
        (&mut |index| index.delete_pod(&b), false),
        (&mut |index| index.delete_pod(&b), false),
    ] {
        step(&mut index);
        assert_eq!((index.is_meshed("shop"), index.has_proxies("shop")), (meshed, meshed));
    }
}

#[test]
fn a_namespace_that_ends_or_is_unknown_takes_nothing() {
    let index = index(
        "{kind: Namespace, metadata: {name: ending, deletionTimestamp: '2026-01-01T00:00:00Z'}}
---
{kind: Namespace, metadata: {name: shop}}",
    );
    assert_eq!(["ending", "shop", "unknown"].map(|name| index.is_ending(name)), [true, false, true]);
}

#[test]
fn only_what_changes_something_makes_dirty() {
    let dirty = |namespaces: &[&str], callers, policies| Dirty {
        everything: false,
        callers,
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        policies,
    };
    let namespace = "{kind: Namespace, metadata: {name: shop, labels: {team: red}}}";
    let service =
        "{kind: Service, metadata: {namespace: shop, name: a, labels: {team: red}}, spec: {clusterIP: 10.0.0.1}}";
    let mut index = Index::new(SYSTEM);
    for (object, want) in [
        (namespace, dirty(&["shop"], false, false)),
        (namespace, Dirty::default()),
        (&namespace.replace("team: red", "team: blue"), Dirty::default()),
        (&namespace.replace("team: red", "outrigger.dev/inject: enabled"), dirty(&["shop"], false, false)),
        (service, dirty(&["shop"], true, false)),
        (&service.replace("team: red", "team: blue"), Dirty::default()),
        (&service.replace("10.0.0.1", "10.0.0.2"), dirty(&["shop"], true, false)),
        (
            "{kind: Pod, metadata: {namespace: shop, name: a, labels: {outrigger.dev/proxy: v}}}",
            dirty(&["shop"], false, false),
        ),
        ("{kind: Pod, metadata: {namespace: shop, name: b, labels: {outrigger.dev/proxy: v}}}", Dirty::default()),
        (POLICY, dirty(&["shop"], true, true)),
        (POLICY, Dirty::default()),
        (&POLICY.replace("generation: 1", "generation: 2"), dirty(&["shop"], true, true)),
    ] {
        apply(&mut index, &objects(object)[0]);
        assert_eq!(index.take_dirty(), want, "{object}");
    }
    index.delete_policy(&Key::new("shop", "p"));
    assert_eq!(index.take_dirty(), dirty(&["shop"], true, true));
    index.delete_policy(&Key::new("shop", "p"));
    assert!(index.take_dirty().is_clean());
}

#[test]
fn a_status_of_its_own_leaves_a_policy_clean_and_is_kept() {
    let mut index = index(POLICY);
    let mut object = objects(POLICY).remove(0);
    object["status"] = json!({"observedGeneration": 1});
    apply(&mut index, &object);
    assert!(index.take_dirty().is_clean());
    let status = || index.policy(&Key::new("shop", "p")).unwrap().status.clone();
    assert_eq!(status().unwrap().observed_generation, Some(1));

    // a new policy of the same name has another uid
    object["metadata"]["uid"] = json!("other");
    apply(&mut index, &object);
    assert!(!index.take_dirty().is_clean());
}

#[test]
fn an_object_of_any_shape_is_a_policy_with_problems() {
    let mut index = Index::new(SYSTEM);
    for (i, spec) in [json!(null), json!([]), json!({}), json!({"targetRefs": 5})].into_iter().enumerate() {
        index.apply_policy(&json!({"metadata": {"namespace": "shop", "name": format!("p{i}")}, "spec": spec}));
    }
    assert_eq!(index.policies().filter(|policy| !policy.problems.is_empty()).count(), 4);
    assert_eq!(index.policies_in("shop").count(), 4);
    assert_eq!(index.policies_in("sho").count(), 0);
}
