//! Which Pods get a sidecar, and that the API server takes what the injector makes of them.

use e2e::cluster::{Namespace, eventually, kubectl, try_kubectl};
use serde_json::{Value, json};
use std::time::Duration;

fn containers(pod: &Value) -> Vec<&str> {
    let spec = &pod["spec"];
    let all = [&spec["initContainers"], &spec["containers"]];
    all.into_iter().filter_map(Value::as_array).flatten().filter_map(|c| c["name"].as_str()).collect()
}

#[test]
fn pods_opt_out_by_label_or_annotation() {
    let namespace = Namespace::labelled("out", json!({"outrigger.dev/inject": "enabled"}));
    for (name, kind) in [("by-label", "labels"), ("by-annotation", "annotations")] {
        let mut pod = namespace.testapp(name, &["sleep"]);
        pod["metadata"][kind]["outrigger.dev/inject"] = "disabled".into();
        namespace.apply(&pod);
        assert_eq!(containers(&namespace.get("pod", name)), ["app"], "{name}");
    }
    namespace.apply(&namespace.testapp("plain", &["sleep"]));
    assert_eq!(containers(&namespace.get("pod", "plain")), ["outrigger-init", "outrigger-proxy", "app"]);
}

#[test]
fn a_pod_opts_in_by_label_where_its_namespace_says_nothing_and_gets_its_document() {
    let namespace = Namespace::labelled("in", json!({}));
    namespace.apply(&namespace.testapp("without", &["sleep"]));
    assert_eq!(containers(&namespace.get("pod", "without")), ["app"]);
    let mut pod = namespace.testapp("with", &["serve", "[::]:8080", "with"]);
    pod["metadata"]["labels"]["outrigger.dev/inject"] = "enabled".into();
    namespace.apply(&pod);
    namespace.ready(&["with"]);
    assert!(namespace.document().is_some());
    namespace.kubectl(&["delete", "pod", "with", "--now"]);
    eventually("the document goes when the last Pod is gone", Duration::from_secs(60), || {
        namespace.document().map_or(Ok(()), Err)
    });
}

#[test]
fn a_pod_on_the_hosts_network_is_left_alone() {
    let namespace = Namespace::labelled("host", json!({"outrigger.dev/inject": "enabled"}));
    let mut pod = namespace.testapp("host", &["sleep"]);
    pod["spec"]["hostNetwork"] = true.into();
    namespace.apply(&pod);
    assert_eq!(containers(&namespace.get("pod", "host")), ["app"]);
}

#[test]
fn a_job_with_a_sidecar_completes() {
    let namespace = Namespace::meshed("job");
    namespace.serve("web");
    namespace.ready(&["web"]);
    let mut template = namespace.testapp("job", &["get", "http://web/hello"]);
    template["spec"]["restartPolicy"] = "Never".into();
    namespace.apply(&json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {"app": "job"}}, "spec": template["spec"]}},
    }));
    eventually("the Job completes", Duration::from_secs(120), || {
        let job = namespace.get("job", "job");
        if job["status"]["succeeded"] == 1 { Ok(()) } else { Err(job["status"].to_string()) }
    });
    let pods = namespace.kubectl(&["get", "pods", "-l", "app=job", "-o", "json"]);
    let pods: Value = serde_json::from_str(&pods).unwrap();
    assert_eq!(containers(&pods["items"][0]), ["outrigger-init", "outrigger-proxy", "app"]);
}

#[test]
fn a_refusal_names_every_problem_and_the_pod_stays_out() {
    let namespace = Namespace::labelled("bad", json!({"outrigger.dev/inject": "enabled"}));
    let mut pod = namespace.testapp("bad", &["sleep"]);
    pod["metadata"]["annotations"] = json!({
        "outrigger.dev/exclude-outbound-ports": "http,99999", "outrigger.dev/proxy-cpu-limit": "much",
    });
    pod["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": 1337});
    let outcome = namespace.try_apply(&pod);
    assert!(!outcome.ok);
    for part in ["99999", "much", "1337"] {
        assert!(outcome.err.contains(part), "{part} is not named: {}", outcome.err);
    }
}

#[test]
fn installing_again_changes_nothing() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/default");
    // a budget's selector has the patch strategy "replace", so kubectl sends it each time and says "configured"
    let generations =
        || kubectl(&["-n", "outrigger-system", "get", "pdb", "-o", "jsonpath={.items[*].metadata.generation}"]);
    let before = generations();
    let again = kubectl(&["apply", "-k", folder]);
    for line in again.lines().filter(|line| !line.starts_with("poddisruptionbudget.")) {
        assert!(line.ends_with(" unchanged"), "{line}");
    }
    assert_eq!(generations(), before);
}

#[test]
fn broken_reviews_and_pods_are_refused_by_the_api_server_or_us_but_never_lost() {
    let namespace = Namespace::labelled("odd", json!({"outrigger.dev/inject": "maybe"}));
    let outcome = namespace.try_apply(&namespace.testapp("pod", &["sleep"]));
    assert!(!outcome.ok && outcome.err.contains("maybe"), "{}", outcome.err);
    assert!(!try_kubectl(&["-n", &namespace.name, "get", "pod", "pod"], "").ok);
}
