//! What must survive: killed parts of the control plane, a killed proxy, and rolling restarts of everything under load.
//! These tests stop what others would rely on, so they run one at a time.

use e2e::cluster::{Namespace, eventually, fresh_id, kubectl, serial, signal_proxy};
use serde_json::{Value, json};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(180);

fn rollout(what: &str) {
    kubectl(&["-n", "outrigger-system", "rollout", "status", what, "--timeout=180s"]);
}

fn names(namespace: &str, selector: &str, field: &str) -> Vec<String> {
    let path = format!("jsonpath={{.items[*].{field}}}");
    let text = kubectl(&["-n", namespace, "get", "pods", "-l", selector, "-o", &path]);
    text.split_whitespace().map(ToOwned::to_owned).collect()
}

#[test]
fn a_killed_proxy_comes_back_with_its_configuration_and_takes_nobody_with_it() {
    let _one = serial();
    let namespace = Namespace::meshed("kill");
    namespace.client("client");
    namespace.serve("web");
    namespace.serve("other");
    namespace.ready(&["client", "web", "other"]);
    signal_proxy(&namespace, "web", "KILL");
    let (status, text) = namespace.fetch("client", "http://other/", &fresh_id());
    assert_eq!(status, 200, "a neighbour suffers: {text}");
    eventually("the killed proxy serves again", LONG, || match namespace.fetch("client", "http://web/", &fresh_id()) {
        (200, _) => Ok(()),
        (status, text) => Err(format!("{status} {text}")),
    });
    let status = namespace.get("pod", "web")["status"].clone();
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0, "the application was restarted: {status}");
}

#[test]
fn without_a_control_plane_traffic_goes_on_and_nothing_is_lost_when_it_is_back() {
    let _one = serial();
    let namespace = Namespace::meshed("away");
    namespace.client("client");
    namespace.serve("web");
    namespace.ready(&["client", "web"]);
    // Services of other namespaces come and go meanwhile
    let layers = || {
        let document: Value = serde_json::from_str(&namespace.document().expect("there is a document")).expect("JSON");
        document["layers"].clone()
    };
    let before = layers();
    for part in ["operator", "injector"] {
        let selector = format!("app.kubernetes.io/name=outrigger-{part}");
        kubectl(&["-n", "outrigger-system", "delete", "pods", "-l", &selector, "--grace-period=0", "--force"]);
    }
    for _ in 0..20 {
        let (status, text) = namespace.fetch("client", "http://web/", &fresh_id());
        assert_eq!(status, 200, "{text}");
    }
    for part in ["deployment/outrigger-operator", "deployment/outrigger-injector"] {
        rollout(part);
    }
    assert_eq!(layers(), before, "the document changed");
    namespace.serve("later");
    namespace.ready(&["later"]);
    namespace.kubectl(&["delete", "meshpolicy", "access-log"]);
    eventually("the operator works again", LONG, || {
        let document = namespace.document().unwrap_or_default();
        if document.contains("accessLog") { Err(document) } else { Ok(()) }
    });
}

#[test]
fn rolling_restarts_of_services_and_control_plane_lose_no_request() {
    let _one = serial();
    let namespace = Namespace::labelled("roll", json!({"outrigger.dev/inject": "enabled"}));
    for version in ["reviews-v1", "reviews-v2"] {
        namespace.apply(&namespace.service(version, version));
        let mut template = namespace.testapp(version, &["serve", "[::]:8080", version]);
        template["spec"]["terminationGracePeriodSeconds"] = 30.into();
        namespace.apply(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": version},
            "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": version}},
                "template": {"metadata": {"labels": {"app": version}}, "spec": template["spec"]},
            },
        }));
    }
    namespace.client("client");
    for version in ["deployment/reviews-v1", "deployment/reviews-v2"] {
        namespace.kubectl(&["rollout", "status", version, "--timeout=180s"]);
    }
    namespace.ready(&["client"]);
    let services = ["reviews-v1", "reviews-v2"];
    let uids = |service: &str| names(&namespace.name, &format!("app={service}"), "metadata.uid");
    let before: Vec<_> = services.map(uids).into_iter().flatten().collect();

    let seconds = "75";
    let reports: Vec<Value> = std::thread::scope(|scope| {
        let load = |service: &'static str| {
            let url = format!("http://{service}/");
            let namespace = &namespace;
            scope.spawn(move || {
                let args =
                    ["exec", "client", "-c", "app", "--", "/outrigger-testapp", "load", &url, "120", seconds, "4"];
                namespace.kubectl(&args)
            })
        };
        let running = services.map(load);
        std::thread::sleep(Duration::from_secs(5));
        for service in services {
            namespace.kubectl(&["rollout", "restart", &format!("deployment/{service}")]);
        }
        for part in ["deployment/outrigger-operator", "deployment/outrigger-injector"] {
            kubectl(&["-n", "outrigger-system", "rollout", "restart", part]);
        }
        for service in services {
            namespace.kubectl(&["rollout", "status", &format!("deployment/{service}"), "--timeout=120s"]);
        }
        running
            .map(|thread| serde_json::from_str(&thread.join().expect("the load ran")).expect("it prints JSON"))
            .into()
    });
    for part in ["deployment/outrigger-operator", "deployment/outrigger-injector"] {
        rollout(part);
    }
    let mut total = 0;
    for report in &reports {
        println!("{report}");
        assert_eq!((&report["sent"], &report["lost"]), (&report["ok"], &json!({})), "requests were lost");
        total += report["sent"].as_u64().unwrap_or(0);
    }
    assert!(total >= 200 * 70, "only {total} requests");
    let after: Vec<_> = services.map(uids).into_iter().flatten().collect();
    assert!(before.iter().all(|uid| !after.contains(uid)), "some Pod was not replaced: {before:?} {after:?}");
}
