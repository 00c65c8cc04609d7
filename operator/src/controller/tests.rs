//! The loop against an API server in memory, with time paused: what it writes, and above all what it doesn't.

mod fake_api;

use crate::metrics::Metrics;
use crate::reconcile::Reconciler;
use crate::testing::SYSTEM;
use fake_api::FakeApi;
use mesh_kube::events::Events;
use mesh_runtime::readiness::Readiness;
use mesh_runtime::signals::Shutdown;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

const SHOP: &str = "{kind: Namespace, metadata: {name: shop, labels: {outrigger.dev/inject: enabled}}}";
const POLICY: &str = "{kind: MeshPolicy, metadata: {namespace: shop, name: deny}, \
    spec: {targetRefs: [{kind: Namespace}], authorization: {default: Deny}}}";
const DOCUMENT: &str = "PATCH configmaps shop/outrigger-proxy-config";
const STATUS: &str = "PATCH meshpolicies shop/deny/status";
/// Longer than bursts, shorter than a first retry.
const MOMENT: Duration = Duration::from_millis(500);
/// Longer than what statuses wait for hashes.
const WHILE: Duration = Duration::from_secs(20);

struct Operator {
    readiness: Readiness,
    metrics: Metrics,
    leads: watch::Sender<bool>,
    shutdown: Shutdown,
}

impl Operator {
    fn start(api: &FakeApi, leads: bool) -> Self {
        let (leads, receiver) = watch::channel(leads);
        leads.send_modify(|_| {});
        let (readiness, metrics, shutdown) = (Readiness::new(), Metrics::new(None), Shutdown::new());
        let reconciler = Reconciler::new(SYSTEM, metrics.clone());
        let events = Events::new(api.client(), "outrigger-operator");
        let (client, gate, stop) = (api.client(), readiness.gate("caches"), shutdown.clone());
        tokio::spawn(async move {
            super::run(client, SYSTEM, reconciler, events, receiver, gate, stop).await;
        });
        Operator { readiness, metrics, leads, shutdown }
    }
}

/// What was asked for, in order.
fn asked(api: &FakeApi) -> Vec<String> {
    api.take_asked().into_iter().map(|asked| asked.what).collect()
}

fn objects(list: &[&str]) -> String {
    list.join("\n---\n")
}

fn object(yaml: &str) -> Value {
    crate::testing::objects(yaml).remove(0)
}

fn pod(name: &str) -> Value {
    json!({"kind": "Pod", "metadata": {"namespace": "shop", "name": name, "labels": {"outrigger.dev/proxy": "0.1.0"}}})
}

fn condition(api: &FakeApi, policy: &str, kind: &str) -> String {
    let policy = api.get("meshpolicies", "shop", policy).unwrap();
    let conditions = policy["status"]["conditions"].as_array().unwrap().clone();
    let condition = conditions.into_iter().find(|condition| condition["type"] == kind).unwrap();
    format!("{}/{}", condition["status"].as_str().unwrap(), condition["reason"].as_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_document_and_a_status_are_written_once() {
    let api = FakeApi::new(&objects(&[SHOP, POLICY]));
    let operator = Operator::start(&api, true);
    sleep(WHILE).await;
    let writes = api.take_asked();
    assert_eq!(writes.iter().map(|asked| asked.what.as_str()).collect::<Vec<_>>(), [DOCUMENT, STATUS]);
    for write in &writes {
        assert!(
            write.query.contains("fieldManager=outrigger-operator") && write.query.contains("force=true"),
            "{write:?}"
        );
    }
    let body = &writes[0].body;
    let json = body["data"]["proxy.v1.json"].as_str().unwrap();
    let valid = mesh_config::proxy::Valid::from_bytes(json.as_bytes()).unwrap();
    assert_eq!(valid.document().layers[0].source, "MeshPolicy/shop/deny");
    let hash = mesh_config::hash(json.as_bytes());
    assert_eq!(
        body["metadata"],
        json!({"name": "outrigger-proxy-config", "namespace": "shop", "annotations": {"outrigger.dev/hash": hash},
            "labels": {"app.kubernetes.io/managed-by": "outrigger"}})
    );
    assert_eq!(writes[1].body["metadata"], json!({"name": "deny", "namespace": "shop", "uid": "uid-deny"}));
    assert_eq!(writes[1].body["status"]["summary"]["hash"], json!(hash));
    assert_eq!(condition(&api, "deny", "Programmed"), "True/Programmed");
    assert!(operator.readiness.is_ready());
    assert_eq!(api.take_events(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn whoever_starts_or_takes_over_writes_nothing_where_nothing_differs() {
    let api = FakeApi::new(&objects(&[SHOP, POLICY]));
    let first = Operator::start(&api, true);
    sleep(WHILE).await;
    assert_eq!(asked(&api).len(), 2);
    first.shutdown.trigger();
    let second = Operator::start(&api, false);
    sleep(WHILE).await;
    assert!(second.readiness.is_ready(), "a follower is ready too");
    second.leads.send_replace(true);
    sleep(WHILE).await;
    assert_eq!(asked(&api), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_edit_and_a_deletion_by_others_are_repaired() {
    let api = FakeApi::new(&objects(&[SHOP, POLICY]));
    let _operator = Operator::start(&api, true);
    sleep(MOMENT).await;
    let good = api.get("configmaps", "shop", "outrigger-proxy-config").unwrap();
    asked(&api);

    let mut edited = good.clone();
    edited["data"]["proxy.v1.json"] = "{}".into();
    api.put(edited);
    sleep(WHILE).await;
    assert_eq!(asked(&api), [DOCUMENT]);
    assert_eq!(api.get("configmaps", "shop", "outrigger-proxy-config").unwrap()["data"], good["data"]);

    api.delete("configmaps", "shop", "outrigger-proxy-config");
    sleep(WHILE).await;
    assert_eq!(asked(&api), [DOCUMENT]);
    assert_eq!(api.get("configmaps", "shop", "outrigger-proxy-config").unwrap()["data"], good["data"]);
}

#[tokio::test(start_paused = true)]
async fn a_document_goes_only_with_the_last_proxy() {
    let api = FakeApi::new(SHOP);
    api.put(pod("a"));
    api.put(pod("b"));
    let _operator = Operator::start(&api, true);
    sleep(MOMENT).await;
    assert_eq!(asked(&api), [DOCUMENT]);

    api.put(object("{kind: Namespace, metadata: {name: shop}}"));
    api.delete("pods", "shop", "a");
    sleep(WHILE).await;
    assert_eq!(asked(&api), Vec::<String>::new());

    let version =
        api.get("configmaps", "shop", "outrigger-proxy-config").unwrap()["metadata"]["resourceVersion"].clone();
    api.delete("pods", "shop", "b");
    sleep(WHILE).await;
    let asked = api.take_asked();
    assert_eq!((asked.len(), asked[0].what.as_str()), (1, "DELETE configmaps shop/outrigger-proxy-config"));
    assert_eq!(
        asked[0].body["preconditions"],
        json!({"uid": "uid-outrigger-proxy-config", "resourceVersion": version})
    );
    assert_eq!(api.get("configmaps", "shop", "outrigger-proxy-config"), None);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_decided_before_every_list_is_whole() {
    for list in ["LIST pods", "LIST meshpolicies", "LIST namespaces", "LIST services", "LIST configmaps"] {
        // a document that nobody would need, if there really were no proxies
        let api = FakeApi::new(&objects(&[SHOP, POLICY, "{kind: Namespace, metadata: {name: left}}"]));
        api.put(json!({"kind": "ConfigMap", "metadata": {"namespace": "left", "name": "outrigger-proxy-config",
            "labels": {"app.kubernetes.io/managed-by": "outrigger"}}}));
        api.answer_with(move |what| (what == list).then_some((500, "no list for you")));
        let operator = Operator::start(&api, true);
        sleep(WHILE).await;
        assert_eq!(asked(&api), Vec::<String>::new(), "{list}");
        assert!(!operator.readiness.is_ready());
        assert!(operator.metrics.encode().contains("outrigger_watch_errors_total{"));

        api.answer_with(|_| None);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(asked(&api), ["DELETE configmaps left/outrigger-proxy-config", DOCUMENT, STATUS], "{list}");
        assert!(operator.readiness.is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_watch_lists_anew_nothing_is_deleted_and_the_rest_goes_on() {
    let api = FakeApi::new(SHOP);
    let _operator = Operator::start(&api, true);
    sleep(MOMENT).await;
    assert_eq!(asked(&api), [DOCUMENT]);
    api.answer_with(|what| (what == "LIST pods").then_some((500, "no list for you")));
    api.expire("pods");
    sleep(MOMENT).await;
    api.put(object("{kind: Namespace, metadata: {name: shop}}"));
    api.put(object("{kind: Namespace, metadata: {name: other, labels: {outrigger.dev/inject: enabled}}}"));
    sleep(WHILE).await;
    assert_eq!(asked(&api), ["PATCH configmaps other/outrigger-proxy-config"]);

    api.answer_with(|_| None);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(asked(&api), ["DELETE configmaps shop/outrigger-proxy-config"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_writes() {
    let api = FakeApi::new(&objects(&[SHOP, POLICY]));
    let operator = Operator::start(&api, false);
    sleep(WHILE).await;
    assert_eq!(asked(&api), Vec::<String>::new());

    operator.leads.send_replace(true);
    sleep(WHILE).await;
    assert_eq!(asked(&api), [DOCUMENT, STATUS]);
    assert!(operator.metrics.encode().contains("outrigger_leader 1"));

    operator.leads.send_replace(false);
    sleep(MOMENT).await;
    api.delete("configmaps", "shop", "outrigger-proxy-config");
    sleep(WHILE).await;
    assert_eq!(asked(&api), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_fails_is_tried_again_later_and_later_and_holds_nobody_up() {
    let api = FakeApi::new(&objects(&[
        SHOP,
        POLICY,
        "{kind: Namespace, metadata: {name: other, labels: {outrigger.dev/inject: enabled}}}",
    ]));
    api.answer_with(|what| (what == DOCUMENT).then_some((422, "no more than this")));
    let operator = Operator::start(&api, true);
    sleep(MOMENT).await;
    let mut first = asked(&api);
    first.sort();
    assert_eq!(first, ["PATCH configmaps other/outrigger-proxy-config", DOCUMENT, STATUS]);
    assert_eq!(condition(&api, "deny", "Programmed"), "False/WriteFailed");
    let mut events = api.take_events();
    events.sort();
    assert_eq!(events, ["ConfigMap shop outrigger-proxy-config WriteFailed", "MeshPolicy shop deny WriteFailed"]);

    sleep(Duration::from_secs(8)).await;
    assert_eq!(asked(&api), [DOCUMENT, DOCUMENT, DOCUMENT], "after 1, 3 and 7 s");
    assert_eq!(api.take_events(), Vec::<String>::new(), "said once");
    assert!(operator.metrics.encode().contains("outrigger_documents_total{result=\"failed\"} 4"));

    api.answer_with(|_| None);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(asked(&api), [DOCUMENT, STATUS]);
    assert_eq!(condition(&api, "deny", "Programmed"), "True/Programmed");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_going_is_left_alone_quietly() {
    let api = FakeApi::new(SHOP);
    let forbidden = "configmaps \"outrigger-proxy-config\" is forbidden: unable to create new content in namespace shop \
        because it is being terminated";
    api.answer_with(move |what| (what == DOCUMENT).then_some((403, forbidden)));
    let _operator = Operator::start(&api, true);
    sleep(WHILE).await;
    assert_eq!(asked(&api), [DOCUMENT]);
    api.put(json!({"kind": "Namespace", "metadata": {"name": "shop", "labels": {"outrigger.dev/inject": "enabled"},
        "deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    sleep(WHILE).await;
    assert_eq!((asked(&api), api.take_events()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn one_bad_object_blinds_nobody_and_is_told_of_once() {
    let api = FakeApi::new(&objects(&[
        SHOP,
        "{kind: MeshPolicy, metadata: {namespace: shop, name: bad}, spec: [not, a, policy]}",
        POLICY,
    ]));
    let operator = Operator::start(&api, true);
    sleep(WHILE).await;
    assert_eq!(asked(&api), [DOCUMENT, "PATCH meshpolicies shop/bad/status", STATUS]);
    assert_eq!(condition(&api, "bad", "Accepted"), "False/Invalid");
    assert_eq!(condition(&api, "deny", "Programmed"), "True/Programmed");
    assert_eq!(api.take_events(), ["MeshPolicy shop bad Invalid"]);
    let page = operator.metrics.encode();
    assert!(page.contains("outrigger_policies{condition=\"Accepted\",status=\"False\"} 1"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn mesh_yaml_excludes_namespaces_and_a_bad_one_keeps_the_last_good() {
    let mesh = |yaml: &str| json!({"kind": "ConfigMap", "metadata": {"namespace": SYSTEM, "name": "outrigger-mesh"}, "data": {"mesh.yaml": yaml}});
    let api = FakeApi::new(SHOP);
    api.put(mesh("excludedNamespaces: ["));
    let operator = Operator::start(&api, true);
    sleep(MOMENT).await;
    assert_eq!((asked(&api), operator.readiness.is_ready()), (vec![], false), "what is excluded isn't known");
    assert!(operator.readiness.report().contains("mesh.yaml"), "{}", operator.readiness.report());

    api.put(mesh("excludedNamespaces: [shop]"));
    sleep(MOMENT).await;
    assert_eq!((asked(&api), operator.readiness.is_ready()), (vec![], true));
    api.put(mesh("excludedNamespaces: ["));
    sleep(MOMENT).await;
    api.delete("configmaps", SYSTEM, "outrigger-mesh");
    sleep(MOMENT).await;
    assert_eq!((asked(&api), operator.readiness.is_ready()), (vec![], true));
    api.put(mesh("excludedNamespaces: []"));
    sleep(MOMENT).await;
    assert_eq!(asked(&api), [DOCUMENT]);
}
