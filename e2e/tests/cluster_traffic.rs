//! The main job: a labelled namespace, Pods with their sidecars, requests through both proxies, a rule that refuses.

use e2e::cluster::{Namespace, TWO_SYNCS, eventually, fresh_id, signal_proxy};
use serde_json::json;
use std::time::Duration;

/// One hop is seen by the caller's proxy and by the called one.
#[track_caller]
fn logged_once_by_both(namespace: &Namespace, id: &str) {
    for pod in ["client", "web"] {
        eventually(&format!("{id} stands once in the log of {pod}"), Duration::from_secs(10), || {
            match namespace.in_proxy_log(pod, id) {
                1 => Ok(()),
                count => Err(format!("{count} times")),
            }
        });
    }
}

#[test]
fn a_labelled_namespace_gets_sidecars_that_see_every_request_once_over_both_families() {
    let namespace = Namespace::meshed("main");
    namespace.client("client");
    namespace.serve("web");
    namespace.ready(&["client", "web"]);
    for pod in ["client", "web"] {
        let pod = namespace.get("pod", pod);
        let ready = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        let sidecars = pod["status"]["initContainerStatuses"].as_array().into_iter().flatten();
        let up = ready.chain(sidecars.filter(|s| s["name"] == "outrigger-proxy")).filter(|s| s["ready"] == true);
        assert_eq!(up.count(), 2, "2/2: {}", pod["status"]);
    }
    let addresses = namespace.addresses("web");
    assert_eq!(addresses.len(), 2, "both families: {addresses:?}");
    for address in &addresses {
        let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
        let before = |pod: &str, direction: &str| {
            namespace.metric(pod, "outrigger_requests_total", &[&format!("direction=\"{direction}\"")])
        };
        let counted = (before("client", "outbound"), before("web", "inbound"));
        for _ in 0..5 {
            let id = fresh_id();
            let (status, text) = namespace.fetch("client", &format!("http://{host}/hello"), &id);
            assert_eq!(status, 200, "{text}");
            assert!(text.contains(&id), "the application saw the id: {text}");
            logged_once_by_both(&namespace, &id);
        }
        let now = (before("client", "outbound"), before("web", "inbound"));
        assert_eq!((now.0 - counted.0, now.1 - counted.1), (5.0, 5.0), "exactly the five requests are counted");
    }
}

#[test]
fn a_deny_rule_refuses_and_the_probes_stay_green() {
    let namespace = Namespace::meshed("deny");
    namespace.apply(&json!({
        "apiVersion": "outrigger.dev/v1alpha1", "kind": "MeshPolicy", "metadata": {"name": "no-admin"},
        "spec": {
            "targetRefs": [{"kind": "Service", "name": "web"}],
            "authorization": {"rules": [{"name": "admin", "action": "Deny", "to": [{"paths": [{"value": "/admin"}]}]}]},
        },
    }));
    namespace.client("client");
    namespace.serve("web");
    namespace.document_contains("no-admin");
    namespace.ready(&["client", "web"]);
    let refused = eventually("the path is refused", TWO_SYNCS, || {
        let id = fresh_id();
        match namespace.fetch("client", "http://web/admin", &id) {
            (403, _) => Ok(id),
            (status, text) => Err(format!("{status} {text}")),
        }
    });
    logged_once_by_both(&namespace, &refused);
    let (status, text) = namespace.fetch("client", "http://web/hello", &fresh_id());
    assert_eq!(status, 200, "another path is not: {text}");
    let pod = namespace.get("pod", "web");
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{}", pod["status"]);
}

#[test]
fn without_a_running_proxy_nothing_gets_through() {
    let namespace = Namespace::meshed("control");
    namespace.client("client");
    namespace.serve("web");
    namespace.ready(&["client", "web"]);
    let (status, text) = namespace.fetch("client", "http://web/hello", &fresh_id());
    assert_eq!(status, 200, "{text}");
    signal_proxy(&namespace, "client", "STOP");
    let (status, text) = namespace.fetch("client", "http://web/hello", &fresh_id());
    assert_eq!(status, 0, "the request went around the stopped proxy: {text}");
}
