//! Who may do what: people with the usual roles, and our own service accounts.

use e2e::cluster::{Namespace, kubectl, kubectl_as, try_kubectl};
use serde_json::json;

const OPERATOR: &str = "system:serviceaccount:outrigger-system:outrigger-operator";
const INJECTOR: &str = "system:serviceaccount:outrigger-system:outrigger-injector";

#[test]
fn an_editor_of_a_meshed_namespace_cannot_write_its_documents() {
    let namespace = Namespace::meshed("editor");
    let n = namespace.name.as_str();
    namespace.kubectl(&["create", "rolebinding", "eve", "--clusterrole=edit", "--user=eve"]);
    let config_map = |name: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"proxy.v1.json": "{}"}})
            .to_string()
    };
    let as_eve = |args: &[&str], input: &str| kubectl_as("eve", &[&["-n", n], args].concat(), input);
    assert!(as_eve(&["create", "-f", "-"], &config_map("hers")).ok, "the role itself works");
    assert!(as_eve(&["auth", "can-i", "create", "meshpolicies.outrigger.dev"], "").ok, "policies are hers to write");
    let refused = [
        as_eve(&["create", "-f", "-"], &config_map("outrigger-trust")),
        as_eve(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &config_map("outrigger-proxy-config")),
        as_eve(&["patch", "configmap", "outrigger-proxy-config", "-p", "{\"data\":{\"proxy.v1.json\":\"{}\"}}"], ""),
        as_eve(&["delete", "configmap", "outrigger-proxy-config"], ""),
        as_eve(&["delete", "configmap", "--all"], ""),
    ];
    for outcome in refused {
        assert!(!outcome.ok && outcome.err.contains("Outrigger's operator alone"), "{outcome:?}");
    }
    assert!(namespace.document().is_some(), "the document is still there");
}

#[test]
fn an_administrator_can_write_the_mesh_settings() {
    let text = kubectl(&["-n", "outrigger-system", "get", "configmap", "outrigger-mesh", "-o", "json"]);
    let outcome = kubectl_as("root", &["--as-group=system:masters", "apply", "--dry-run=server", "-f", "-"], &text);
    assert!(outcome.ok, "{outcome:?}");
}

/// `VERB RESOURCE[/NAME] [NAMESPACE]`
fn may(account: &str, what: &str) -> bool {
    let (question, namespace) = match what.split(' ').collect::<Vec<_>>()[..] {
        [verb, resource] => ([verb, resource], None),
        [verb, resource, namespace] => ([verb, resource], Some(namespace)),
        _ => panic!("'{what}' is not VERB RESOURCE [NAMESPACE]"),
    };
    let mut args = vec!["--as", account, "auth", "can-i"];
    args.extend(question);
    match namespace {
        Some(namespace) => args.extend(["-n", namespace]),
        None => args.push("--all-namespaces"),
    }
    let outcome = try_kubectl(&args, "");
    match outcome.out.trim() {
        "yes" => true,
        "no" => false,
        other => panic!("kubectl auth can-i {what}: {other} {}", outcome.err),
    }
}

#[test]
fn our_service_accounts_may_do_what_they_must_and_nothing_more() {
    for what in [
        "list namespaces",
        "watch services",
        "list pods",
        "watch meshpolicies.outrigger.dev",
        "patch configmaps/outrigger-proxy-config default",
        "delete configmaps/outrigger-proxy-config default",
        "watch configmaps/outrigger-mesh outrigger-system",
        "create leases.coordination.k8s.io outrigger-system",
        "create events.events.k8s.io default",
    ] {
        assert!(may(OPERATOR, what), "the operator must be able to {what}");
    }
    let status = ["--as", OPERATOR, "auth", "can-i", "patch", "meshpolicies.outrigger.dev", "--subresource=status"];
    assert!(try_kubectl(&status, "").ok, "the operator must be able to report status");
    for what in [
        "get secrets default",
        "list secrets outrigger-system",
        "create pods default",
        "delete pods default",
        "patch configmaps/other default",
        "patch configmaps/outrigger-mesh outrigger-system",
        "delete namespaces",
        "patch services default",
        "update meshpolicies.outrigger.dev default",
        "patch mutatingwebhookconfigurations.admissionregistration.k8s.io/outrigger-injector",
    ] {
        assert!(!may(OPERATOR, what), "the operator needs not {what}");
    }
    for what in [
        "list namespaces",
        "get secrets/outrigger-injector-certificate outrigger-system",
        "get configmaps/outrigger-mesh outrigger-system",
        "create events.events.k8s.io default",
    ] {
        assert!(may(INJECTOR, what), "the injector must be able to {what}");
    }
    for what in [
        "get secrets default",
        "get secrets/other outrigger-system",
        "list pods default",
        "create pods default",
        "patch configmaps/outrigger-proxy-config default",
        "get meshpolicies.outrigger.dev default",
        "patch namespaces",
    ] {
        assert!(!may(INJECTOR, what), "the injector needs not {what}");
    }
    // refused by name, not only by the question
    let outcome = kubectl_as(OPERATOR, &["-n", "default", "create", "configmap", "any"], "");
    assert!(!outcome.ok && outcome.err.contains("forbidden"), "{outcome:?}");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "outrigger-proxy-config", "namespace": "default"}});
    let args = ["apply", "--server-side", "--dry-run=server", "--field-manager=test", "-f", "-"];
    let outcome = kubectl_as(OPERATOR, &args, &object.to_string());
    assert!(outcome.ok, "{outcome:?}");
}
