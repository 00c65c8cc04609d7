use super::*;
use mesh_config::proxy::{Valid, Workload};
use serde_json::{Value, json};

fn authz(authorization: &Value) -> Authz {
    let document = json!({"version": 1, "layers": [{"source": "p", "authorization": authorization}]});
    let valid = Valid::from_bytes(document.to_string().as_bytes()).unwrap();
    let workload = Workload::new(&valid, &[].into(), &[]);
    let mut problems = Problems::default();
    let authz = Authz::new(&workload.others.authorization, &mut problems);
    problems.or(authz).unwrap()
}

fn said(decision: Result<Permit, Denied>) -> String {
    decision.map_or_else(|denied| denied.rule.to_string(), |_| "ok".into())
}

/// `IP:PORT` for a connection, `IP:PORT METHOD PATH` for a request.
fn ask(authz: &Authz, call: &str) -> String {
    let mut words = call.split(' ');
    let peer: std::net::SocketAddr = words.next().unwrap().parse().unwrap();
    let caller = Caller::new(peer.ip());
    match (words.next(), words.next()) {
        (Some(method), Some(path)) => {
            let method = method.parse().unwrap();
            said(authz.request(&caller, &Operation { port: peer.port(), method: &method, path }))
        }
        _ => said(authz.connection(&caller, peer.port())),
    }
}

/// Each policy, and what it says to each call.
fn table(policies: &[(Value, &[(&str, &str)])]) {
    for (policy, calls) in policies {
        let authz = authz(policy);
        for (call, want) in *calls {
            assert_eq!(ask(&authz, call), *want, "{call} under {policy}");
        }
    }
}

fn allow(name: &str, from: Value, to: Value) -> Value {
    json!({"name": name, "action": "Allow", "from": from, "to": to})
}

fn deny(name: &str, from: Value, to: Value) -> Value {
    json!({"name": name, "action": "Deny", "from": from, "to": to})
}

fn rules(rules: &[Value]) -> Value {
    json!({"rules": rules})
}

#[test]
fn defaults() {
    table(&[
        (json!({}), &[("10.0.0.1:80", "ok"), ("10.0.0.1:80 GET /", "ok")]),
        (json!({"default": "Deny"}), &[("10.0.0.1:80", "default"), ("10.0.0.1:80 GET /", "default")]),
        // an Allow rule makes the default Deny...
        (rules(&[allow("a", json!([{"ipBlocks": ["10.0.0.0/8"]}]), json!([]))]), &[("11.0.0.1:80", "default")]),
        // ... unless the policy says otherwise
        (
            json!({"default": "Allow", "rules": [allow("a", json!([{"ipBlocks": ["10.0.0.0/8"]}]), json!([]))]}),
            &[("11.0.0.1:80", "ok")],
        ),
        (rules(&[deny("d", json!([{"ipBlocks": ["10.0.0.0/8"]}]), json!([]))]), &[("11.0.0.1:80", "ok")]),
    ]);
}

#[test]
fn a_deny_wins_over_every_allow() {
    table(&[(
        rules(&[allow("a", json!([]), json!([])), deny("d", json!([{"ipBlocks": ["10.0.0.0/8"]}]), json!([]))]),
        &[("10.0.0.1:80", "p/d"), ("11.0.0.1:80", "ok"), ("10.0.0.1:80 GET /", "p/d")],
    )]);
}

#[test]
fn what_was_not_understood_is_strict() {
    table(&[
        // a field that this version doesn't know closes what the layer selects
        (
            rules(&[json!({"name": "a", "action": "Allow", "from": [{"principals": ["x"]}]})]),
            &[("10.0.0.1:80", "closed:p"), ("10.0.0.1:80 GET /", "closed:p")],
        ),
        // the operator's strict reading of an Allow: it matches nothing, and still makes the default Deny
        (rules(&[json!({"name": "a", "action": "Allow", "never": true})]), &[("10.0.0.1:80", "default")]),
        (rules(&[json!({"name": "d", "action": "Deny", "never": true})]), &[("10.0.0.1:80", "p/d")]),
    ]);
}

#[test]
fn callers_are_known_by_address() {
    let blocks = json!([{"ipBlocks": ["10.0.0.0/8", "fd00::/8"], "notIpBlocks": ["10.9.0.0/16"]}]);
    let mapped = json!([{"ipBlocks": ["::ffff:10.0.0.0/104"]}]);
    table(&[
        (
            rules(&[allow("a", blocks, json!([]))]),
            &[
                ("10.0.0.1:80", "ok"),
                ("10.9.0.1:80", "default"),
                ("11.0.0.1:80", "default"),
                ("[fd00::1]:80", "ok"),
                ("[fe80::1]:80", "default"),
                ("[::ffff:10.0.0.1]:80", "ok"),
                ("[::ffff:10.9.0.1]:80", "default"),
            ],
        ),
        (
            rules(&[deny("d", json!([{"notIpBlocks": ["10.0.0.0/8"]}]), json!([]))]),
            &[("10.0.0.1:80", "ok"), ("11.0.0.1:80", "p/d"), ("[fd00::1]:80", "p/d")],
        ),
        (rules(&[deny("d", mapped, json!([]))]), &[("10.0.0.1:80", "p/d"), ("11.0.0.1:80", "ok")]),
        // any of the entries; an entry without fields is everybody
        (rules(&[deny("d", json!([{"ipBlocks": ["10.0.0.0/8"]}, {}]), json!([]))]), &[("11.0.0.1:80", "p/d")]),
    ]);
}

#[test]
fn operations_match_by_all_given_fields_of_any_entry() {
    let to = json!([{"ports": [80, 81], "methods": ["GET", "HEAD"], "paths": [{"value": "/api"}]}, {"ports": [90]}]);
    table(&[(
        rules(&[allow("a", json!([]), to)]),
        &[
            ("10.0.0.1:80 GET /api", "ok"),
            ("10.0.0.1:81 HEAD /api/x", "ok"),
            ("10.0.0.1:80 POST /api", "default"),
            ("10.0.0.1:80 get /api", "default"),
            ("10.0.0.1:80 GET /apix", "default"),
            ("10.0.0.1:82 GET /api", "default"),
            ("10.0.0.1:90 DELETE /", "ok"),
        ],
    )]);
}

#[test]
fn an_opaque_connection_meets_http_fields_strictly() {
    let to = json!([{"ports": [80], "methods": ["GET"]}, {"ports": [81]}]);
    table(&[
        (
            rules(&[allow("a", json!([]), to.clone())]),
            &[("10.0.0.1:80", "default"), ("10.0.0.1:81", "ok"), ("10.0.0.1:80 GET /", "ok")],
        ),
        (
            rules(&[deny("d", json!([]), to)]),
            &[
                ("10.0.0.1:80", "p/d"),
                ("10.0.0.1:82", "ok"),
                ("10.0.0.1:80 POST /", "ok"),
                ("10.0.0.1:80 GET /", "p/d"),
            ],
        ),
    ]);
}

#[test]
fn no_spelling_of_a_path_walks_past_a_deny() {
    let prefix = |value: &str| json!([{"paths": [{"type": "PathPrefix", "value": value}]}]);
    let spellings = [
        "/admin",
        "/admin/",
        "/admin/x",
        "//admin",
        "/./admin",
        "/%61dmin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/admin;v=1",
        "/admin%3bv",
        "/x/..;/admin",
        "/;/admin",
        "/x%2f..%2fadmin",
        "/x\\..\\admin",
        "/%2561dmin",
        "/admin%2Fx",
        "/admin;v=1/x",
        "/admin%00",
        "/x%00",
        "/..%c0%afadmin",
    ];
    let denied = authz(&rules(&[deny("d", json!([]), prefix("/admin/"))]));
    let allowed = authz(&rules(&[allow("a", json!([]), prefix("/x"))]));
    for path in spellings {
        assert_eq!(ask(&denied, &format!("10.0.0.1:80 GET {path}")), "p/d", "{path}");
        assert_eq!(ask(&allowed, &format!("10.0.0.1:80 GET {path}")), "default", "{path}");
    }
    for path in ["/", "/administrator", "/x/admin", "/Admin", "/x/admin/.."] {
        assert_eq!(ask(&denied, &format!("10.0.0.1:80 GET {path}")), "ok", "{path}");
    }
    for path in ["/x", "/x/", "//x", "/y/../x/z", "/x/a%20b", "/x/a;v=1", "/%78"] {
        assert_eq!(ask(&allowed, &format!("10.0.0.1:80 GET {path}")), "ok", "{path}");
    }
}

#[test]
fn paths_match_exactly_by_prefix_or_by_expression() {
    let path = |kind: &str, value: &str| json!([{"paths": [{"type": kind, "value": value}]}]);
    table(&[
        (
            rules(&[allow("a", json!([]), path("Exact", "/a b"))]),
            &[("10.0.0.1:80 GET /a%20b", "ok"), ("10.0.0.1:80 GET /a%20b/", "default")],
        ),
        (
            rules(&[allow("a", json!([]), path("RegularExpression", "/v[0-9]+/.*"))]),
            &[
                ("10.0.0.1:80 GET /v1/x", "ok"),
                ("10.0.0.1:80 GET /v1/../x", "default"),
                ("10.0.0.1:80 GET /x/v1/x", "default"),
            ],
        ),
        (
            rules(&[allow("a", json!([]), path("PathPrefix", "/"))]),
            &[("10.0.0.1:80 GET /x", "ok"), ("10.0.0.1:80", "default")],
        ),
    ]);
}

#[test]
fn only_rules_that_can_deny_make_looking_necessary() {
    for (policy, want) in [
        (json!({}), true),
        (json!({"default": "Deny"}), false),
        (json!({"default": "Allow", "rules": [allow("a", json!([]), json!([]))]}), true),
        (rules(&[allow("a", json!([]), json!([]))]), false),
        (rules(&[deny("d", json!([]), json!([]))]), false),
    ] {
        assert_eq!(authz(&policy).allows_everything(), want, "{policy}");
    }
}

#[test]
fn a_decision_names_its_decider() {
    let authz = authz(&rules(&[allow("a", json!([]), json!([{"ports": [80]}]))]));
    let caller = Caller::new("10.0.0.1".parse().unwrap());
    let name = |port| authz.decider(&authz.connection(&caller, port)).map(|decider| (&*decider.name, decider.decision));
    assert_eq!(name(80), Some(("p/a", Verdict::Allow)));
    assert_eq!(name(81), Some(("default", Verdict::Deny)));
}
