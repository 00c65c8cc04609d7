//! What MeshPolicies do to running proxies, and what becomes of policies that are wrong.

use e2e::cluster::{Namespace, TWO_SYNCS, eventually, fresh_id, kubectl, try_kubectl};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "MeshPolicy", "metadata": {"name": name}, "spec": spec})
}

/// `reviews` in front of two versions, of which v1 is the one behind the Service's own selector.
fn reviews(prefix: &str) -> Namespace {
    let namespace = Namespace::meshed(prefix);
    namespace.client("client");
    for version in ["reviews-v1", "reviews-v2"] {
        namespace.serve(version);
    }
    namespace.apply(&namespace.service("reviews", "reviews-v1"));
    namespace.ready(&["client", "reviews-v1", "reviews-v2"]);
    namespace
}

/// Which version answers, over `count` requests.
fn answers(namespace: &Namespace, path: &str, count: usize) -> Vec<String> {
    let ask = |_| {
        let (status, text) = namespace.fetch("client", &format!("http://reviews{path}"), &fresh_id());
        let body: Value = text
            .lines()
            .last()
            .and_then(|_| text.split("\n\n").nth(1))
            .map_or(Value::Null, |body| serde_json::from_str(body.trim()).unwrap_or_default());
        body["name"].as_str().map_or_else(|| status.to_string(), ToOwned::to_owned)
    };
    (0..count).map(ask).collect()
}

fn restarts(namespace: &Namespace, pod: &str) -> i64 {
    let status = &namespace.get("pod", pod)["status"];
    let all =
        ["containerStatuses", "initContainerStatuses"].map(|key| status[key].as_array().cloned().unwrap_or_default());
    all.into_iter().flatten().filter_map(|status| status["restartCount"].as_i64()).sum()
}

#[test]
fn a_route_by_path_prefix_splits_requests_without_a_restart_and_its_deletion_gives_the_default_back() {
    let namespace = reviews("route");
    assert_eq!(answers(&namespace, "/api/x", 3), ["reviews-v1"; 3]);
    namespace.apply(&policy("canary", json!({
        "targetRefs": [{"kind": "Service", "name": "reviews"}],
        "routes": [{
            "name": "canary", "matches": [{"path": {"type": "PathPrefix", "value": "/api"}}],
            "backendRefs": [{"name": "reviews-v1", "port": 80, "weight": 10}, {"name": "reviews-v2", "port": 80, "weight": 90}],
        }],
    })));
    let written = Instant::now();
    eventually("the canary answers", TWO_SYNCS, || {
        let seen = answers(&namespace, "/api/x", 5);
        if seen.contains(&"reviews-v2".into()) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    println!("a policy reached a running proxy after {:.1} s", written.elapsed().as_secs_f32());
    let seen = answers(&namespace, "/api/x", 100);
    let canary = seen.iter().filter(|name| *name == "reviews-v2").count();
    assert_eq!(seen.iter().filter(|name| *name == "reviews-v1").count() + canary, 100, "{seen:?}");
    // 90 of 100 expected; outside 75..=99 less than once in a million runs (binomial)
    assert!((75..=99).contains(&canary), "{canary} of 100 went to the version with weight 90");
    assert_eq!(answers(&namespace, "/apix", 3), ["reviews-v1"; 3], "a prefix is of whole segments");
    assert_eq!(namespace.condition("canary", "Accepted"), "True/Accepted");

    namespace.kubectl(&["delete", "meshpolicy", "canary"]);
    eventually("the default is back", TWO_SYNCS, || {
        let seen = answers(&namespace, "/api/x", 10);
        if seen == ["reviews-v1"; 10] { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    for pod in ["client", "reviews-v1", "reviews-v2"] {
        assert_eq!(restarts(&namespace, pod), 0, "{pod} was restarted");
    }
}

#[test]
fn a_request_timeout_ends_a_slow_request() {
    let namespace = reviews("timeout");
    namespace.apply(&policy(
        "fast",
        json!({
            "targetRefs": [{"kind": "Service", "name": "reviews"}],
            "routes": [{"name": "all", "timeouts": {"request": "300ms"}}],
        }),
    ));
    eventually("the slow request ends", TWO_SYNCS, || {
        let (status, text) = namespace.fetch("client", "http://reviews/?sleep=2000", &fresh_id());
        if status == 504 { Ok(()) } else { Err(format!("{status} {text}")) }
    });
    assert_eq!(answers(&namespace, "/quick", 1), ["reviews-v1"]);
}

#[test]
fn a_routing_section_that_breaks_counts_as_absent_and_says_so() {
    let namespace = reviews("broken");
    let to_v2 = |path: Value| {
        policy(
            "edited",
            json!({
                "targetRefs": [{"kind": "Service", "name": "reviews"}],
                "routes": [{"name": "all", "matches": [{"path": path}], "backendRefs": [{"name": "reviews-v2", "port": 80}]}],
            }),
        )
    };
    namespace.apply(&to_v2(json!({"type": "RegularExpression", "value": "/.*"})));
    eventually("the good policy holds", TWO_SYNCS, || match answers(&namespace, "/", 2).as_slice() {
        [a, b] if a == "reviews-v2" && b == "reviews-v2" => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    // only the operator can tell: the schema knows no regular expressions
    namespace.apply(&to_v2(json!({"type": "RegularExpression", "value": "/(unclosed"})));
    eventually("the policy is not accepted", Duration::from_secs(30), || {
        match namespace.condition("edited", "Accepted").as_str() {
            seen if seen.starts_with("False/") => Ok(()),
            seen => Err(seen.to_owned()),
        }
    });
    let message = namespace.kubectl(&["get", "meshpolicy", "edited", "-o", "jsonpath={.status.conditions}"]);
    assert!(message.contains("(unclosed"), "the message names the value: {message}");
    eventually("the defaults came back", TWO_SYNCS, || match answers(&namespace, "/", 3).as_slice() {
        seen if seen.iter().all(|name| name == "reviews-v1") => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
}

#[test]
fn an_allow_rule_with_a_misspelt_condition_admits_nobody() {
    let namespace = reviews("typo");
    let allow = policy(
        "typo",
        json!({
            "targetRefs": [{"kind": "Service", "name": "reviews-v1"}],
            "authorization": {"rules": [{
            "name": "some", "action": "Allow",
            "from": [{"ipBlocks": ["0.0.0.0/0", "::/0"]}], "to": [{"paths": [{"value": "/"}], "methds": ["DELETE"]}],
        }]},
        }),
    );
    // as a client that doesn't ask for field validation writes it
    let path =
        format!("/apis/outrigger.dev/v1alpha1/namespaces/{}/meshpolicies?fieldValidation=Ignore", namespace.name);
    let outcome = try_kubectl(&["create", "--raw", &path, "-f", "-"], &allow.to_string());
    assert!(outcome.ok, "{outcome:?}");
    eventually("nobody is admitted", TWO_SYNCS, || {
        match namespace.fetch("client", "http://reviews-v1/", &fresh_id()) {
            (403, _) => Ok(()),
            (status, text) => Err(format!("{status} {text}")),
        }
    });
    assert_eq!(namespace.condition("typo", "Accepted"), "False/UnknownField");
}

#[test]
fn a_workload_under_deny_all_stays_ready_for_three_minutes() {
    let namespace = Namespace::meshed("denyall");
    namespace.apply(&policy(
        "nobody",
        json!({
            "targetRefs": [{"kind": "Namespace"}], "authorization": {"default": "Deny"},
        }),
    ));
    namespace.document_contains("nobody");
    namespace.client("client");
    namespace.serve("web");
    namespace.ready(&["client", "web"]);
    let (status, text) = namespace.fetch("client", "http://web/", &fresh_id());
    assert_eq!(status, 403, "{text}");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(180) {
        namespace.ready(&["web"]);
        assert_eq!(restarts(&namespace, "web"), 0);
        std::thread::sleep(Duration::from_secs(5));
    }
}

#[test]
fn a_dry_run_is_counted_and_never_applied() {
    let namespace = Namespace::meshed("dry");
    namespace.apply(&policy(
        "try",
        json!({
            "targetRefs": [{"kind": "Service", "name": "web"}], "mode": "DryRun", "authorization": {"default": "Deny"},
        }),
    ));
    namespace.client("client");
    namespace.serve("web");
    namespace.document_contains("dryRun");
    namespace.ready(&["client", "web"]);
    eventually("the dry run is counted", TWO_SYNCS, || {
        let (status, text) = namespace.fetch("client", "http://web/", &fresh_id());
        assert_eq!(status, 200, "a dry run refused: {text}");
        match namespace.metric("web", "outrigger_authorization_total", &["mode=\"dry_run\"", "decision=\"deny\""]) {
            0.0 => Err(namespace.metrics("web")),
            _ => Ok(()),
        }
    });
}

#[test]
fn the_examples_are_accepted_and_explain_reads_well() {
    let namespace = Namespace::labelled("examples", json!({}));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replace("namespace: shop", &format!("namespace: {}", namespace.name));
        let outcome = try_kubectl(&["apply", "-f", "-"], &text);
        assert!(outcome.ok, "{}: {}", path.display(), outcome.err);
        count += 1;
    }
    assert!(count >= 6, "{count} examples");
    let text = kubectl(&["explain", "meshpolicy.spec"]);
    for field in ["targetRefs", "mode", "priority", "authorization", "protocol", "routes", "telemetry"] {
        assert!(text.contains(field), "{field} is missing:\n{text}");
    }
}
