//! Random policies, good and broken: compiling never panics, always gives a document that proxies take, and a broken
//! policy changes nothing for its neighbours. The generator is seeded, so a failure comes again.

use super::{Callers, document};
use crate::index::Index;
use crate::judge::judge;
use crate::status::{Documents, status};
use crate::testing;
use mesh_config::proxy::{Document, Valid};
use serde_json::{Value, json};

const ROUNDS: u64 = 100;
const CLUSTER: &str = "
{kind: Namespace, metadata: {name: shop, labels: {outrigger.dev/inject: enabled}}}
---
{kind: Namespace, metadata: {name: other, labels: {outrigger.dev/inject: enabled}}}
---
{kind: Service, metadata: {name: a, namespace: shop}, spec: {clusterIP: 10.96.0.1, selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp-x, port: 81, targetPort: named}]}}
---
{kind: Service, metadata: {name: b, namespace: shop}, spec: {clusterIP: None, selector: {app: b}, ports: [{name: http, port: 80}]}}
---
{kind: Service, metadata: {name: c, namespace: other}, spec: {clusterIP: 10.96.0.1, ports: [{name: web, port: 80}, {name: dns, port: 53, protocol: UDP}]}}
---
{kind: Service, metadata: {name: d, namespace: other}, spec: {type: ExternalName, externalName: example.com}}
";

/// Makes a field's value.
type Make<'a> = &'a dyn Fn(&mut Dice) -> Value;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn pick(&mut self, list: &[Value]) -> Value {
        list[self.roll(list.len() as u64) as usize].clone()
    }

    /// Empty, which is refused, now and then.
    fn list(&mut self, most: u64, mut item: impl FnMut(&mut Dice) -> Value) -> Value {
        let length = if self.one_in(50) { 0 } else { 1 + self.roll(most) };
        (0..length).map(|_| item(self)).collect()
    }

    /// A list of objects with names of their own.
    fn named(&mut self, most: u64, mut item: impl FnMut(&mut Dice) -> Value) -> Value {
        let mut list = self.list(most, &mut item);
        let names = ["one", "two", "three", "four"];
        for (object, name) in list.as_array_mut().into_iter().flatten().zip(names) {
            if let Some(object) = object.as_object_mut() {
                let name = if self.one_in(50) { "one" } else { name };
                object.insert("name".into(), name.into());
            }
        }
        list
    }

    /// One of the values, or, now and then, something else altogether.
    fn value(&mut self, list: &[Value]) -> Value {
        if self.one_in(150) { self.junk() } else { self.pick(list) }
    }

    fn junk(&mut self) -> Value {
        let list = [
            json!(null),
            json!(0),
            json!(-1),
            json!(70_000),
            json!(""),
            json!("x y"),
            json!([]),
            json!({}),
            json!([null]),
            json!({"x": 1}),
            json!("\\w{50}"),
            json!("a)|(b"),
            json!(true),
            json!("0s"),
            json!("10.0.0.1/8"),
        ];
        self.pick(&list)
    }

    /// An object of some of the fields.
    fn object(&mut self, fields: &[(&str, Make<'_>)]) -> Value {
        let mut object = serde_json::Map::new();
        for (name, value) in fields {
            if !self.one_in(3) {
                let value = if self.one_in(150) { self.junk() } else { value(self) };
                object.insert((*name).to_owned(), value);
            }
        }
        if self.one_in(150) {
            object.insert("unheardOf".into(), self.junk());
        }
        Value::Object(object)
    }
}

fn target(dice: &mut Dice) -> Value {
    dice.value(&[
        json!({"kind": "Namespace"}),
        json!({"kind": "Service", "name": "a"}),
        json!({"kind": "Service", "name": "a", "sectionName": "http"}),
        json!({"kind": "Service", "name": "a", "sectionName": "tcp-x"}),
        json!({"kind": "Service", "name": "b"}),
        json!({"kind": "Service", "name": "c"}),
        json!({"kind": "Service", "name": "d"}),
        json!({"kind": "Service", "name": "nowhere"}),
        json!({"kind": "Pod", "selector": {"matchLabels": {"app": "a"}}}),
    ])
}

fn path(dice: &mut Dice) -> Value {
    let kinds = [json!("Exact"), json!("PathPrefix"), json!("RegularExpression")];
    let values = [json!("/"), json!("/a/b"), json!("/[a-z]+")];
    let odd = [json!("/\\w{50}"), json!("/a)|(b"), json!("a")];
    let value = if dice.one_in(50) { dice.pick(&odd) } else { dice.value(&values) };
    json!({"type": dice.value(&kinds), "value": value})
}

fn rule(dice: &mut Dice) -> Value {
    let blocks = |dice: &mut Dice| dice.list(2, |dice| dice.value(&[json!("10.0.0.0/8"), json!("fd00::/8")]));
    let not = |dice: &mut Dice| json!({"ipBlocks": blocks(dice)});
    let mut rule = dice.object(&[
        ("from", &|dice| dice.list(2, |dice| dice.object(&[("ipBlocks", &blocks), ("not", &not)]))),
        ("to", &|dice| {
            dice.list(2, |dice| {
                dice.object(&[
                    ("ports", &|dice| dice.list(2, |dice| dice.value(&[json!(8080), json!(1), json!(65535)]))),
                    ("methods", &|dice| dice.list(2, |dice| dice.value(&[json!("GET"), json!("POST")]))),
                    ("paths", &|dice| dice.list(2, path)),
                ])
            })
        }),
    ]);
    if let Some(rule) = rule.as_object_mut() {
        rule.insert("action".into(), dice.value(&[json!("Allow"), json!("Deny")]));
    }
    rule
}

fn route(dice: &mut Dice) -> Value {
    let time = |dice: &mut Dice| dice.value(&[json!("1s"), json!("2s"), json!("0s"), json!("1h")]);
    let param = |dice: &mut Dice| {
        json!({"name": dice.value(&[json!("x-a"), json!("x-b"), json!("x-c")]), "value": dice.value(&[json!("1"), json!(".*")]),
        "type": dice.value(&[json!("Exact"), json!("RegularExpression")])})
    };
    let backend = |dice: &mut Dice| {
        json!({"name": dice.value(&[json!("a"), json!("b"), json!("c"), json!("nowhere")]),
            "namespace": dice.value(&[json!("shop"), json!("other")]),
            "port": dice.value(&[json!(80), json!(81), json!(53)]),
            "weight": dice.value(&[json!(0), json!(1), json!(2), json!(1_000_000)])})
    };
    dice.object(&[
        ("matches", &|dice| {
            dice.list(2, |dice| {
                dice.object(&[
                    ("path", &path),
                    ("method", &|dice| dice.value(&[json!("GET"), json!("PUT")])),
                    ("headers", &|dice| dice.list(1, param)),
                    ("queryParams", &|dice| dice.list(1, param)),
                ])
            })
        }),
        ("backendRefs", &|dice| dice.list(3, backend)),
        ("timeouts", &|dice| dice.object(&[("request", &time), ("backendRequest", &time), ("idle", &time)])),
    ])
}

fn policy(dice: &mut Dice, number: u64) -> Value {
    let protocol = |dice: &mut Dice| {
        let entry = |dice: &mut Dice| json!({"port": dice.value(&[json!(8080), json!(80), json!(9)]), "protocol": dice.value(&[json!("HTTP"), json!("TCP")])});
        dice.object(&[
            ("detectTimeout", &|dice| dice.value(&[json!("10ms"), json!("0s")])),
            ("ports", &|dice| dice.list(2, entry)),
        ])
    };
    let log = |dice: &mut Dice| {
        json!({"accessLog": dice.object(&[
            ("format", &|dice| dice.value(&[json!("Text"), json!("JSON"), json!("None")])),
            ("filter", &|dice| dice.value(&[json!("status >= 500"), json!("duration > 1s")])),
        ])})
    };
    let spec = dice.object(&[
        ("targetRefs", &|dice| dice.list(3, target)),
        ("mode", &|dice| dice.value(&[json!("Enforce"), json!("Enforce"), json!("DryRun")])),
        ("priority", &|dice| dice.value(&[json!(0), json!(100), json!(-100)])),
        ("authorization", &|dice| {
            dice.object(&[
                ("default", &|dice| dice.value(&[json!("Allow"), json!("Deny")])),
                ("rules", &|dice| dice.named(3, rule)),
            ])
        }),
        ("protocol", &protocol),
        ("routes", &|dice| dice.named(3, route)),
        ("telemetry", &log),
    ]);
    let namespace = if dice.one_in(4) { "other" } else { "shop" };
    json!({"kind": "MeshPolicy", "metadata": {"namespace": namespace, "name": format!("p{number}")}, "spec": spec})
}

fn cluster(policies: &[Value]) -> Index {
    let mut index = testing::index(CLUSTER);
    for policy in policies {
        testing::apply(&mut index, policy);
    }
    index
}

fn compiled(index: &Index, namespace: &str) -> Document {
    document(index, namespace, &Callers::of(index))
}

#[test]
fn whatever_policies_say_the_document_is_one_that_proxies_take() {
    let (mut layers, mut routes) = (0, 0);
    for seed in 0..ROUNDS {
        let mut dice = Dice(seed);
        let policies: Vec<Value> = (0..5).map(|number| policy(&mut dice, number)).collect();
        let index = cluster(&policies);
        for namespace in ["shop", "other"] {
            let document = compiled(&index, namespace);
            let json = document.to_json();
            let valid =
                Valid::from_bytes(json.as_bytes()).unwrap_or_else(|problems| panic!("seed {seed}: {problems}\n{json}"));
            assert_eq!((valid.document(), valid.unknown()), (&document, &[][..]), "seed {seed}");
            layers += document.layers.iter().filter(|layer| layer.source.starts_with("MeshPolicy")).count();
            routes += document
                .services
                .iter()
                .flat_map(|service| &service.ports)
                .map(|port| port.routes.len())
                .sum::<usize>();
        }
        for policy in index.policies() {
            let judgement = judge(&index, policy);
            assert!(policy.problems.is_empty() || judgement.accepted.is_err(), "seed {seed}");
            let _ = status(&index, policy, &judgement, &Documents::default(), jiff::Timestamp::UNIX_EPOCH);
        }
    }
    // else the generator makes nothing that is taken, and the test shows nothing
    assert!(layers > 300 && routes > 60, "{layers} layers, {routes} routes");
}

#[test]
fn a_broken_policy_changes_nothing_for_its_neighbours() {
    for seed in 0..ROUNDS {
        let mut dice = Dice(seed);
        let mut policies: Vec<Value> = (0..4).map(|number| policy(&mut dice, number)).collect();
        let without = cluster(&policies);
        let mut broken = policy(&mut dice, 9);
        for section in ["protocol", "routes", "telemetry", "authorization"] {
            broken["spec"][section] = dice.junk();
        }
        policies.push(broken);
        let with = cluster(&policies);
        for namespace in ["shop", "other"] {
            let mut document = compiled(&with, namespace);
            document.layers.retain(|layer| !layer.source.ends_with("/p9"));
            assert_eq!(document, compiled(&without, namespace), "seed {seed}");
        }
    }
}
