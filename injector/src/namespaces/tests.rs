use super::*;
use axum::http::{Request, Response};
use kube::client::Body;
use mesh_config::names;
use mesh_runtime::readiness::Readiness;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An API server that answers every request with this, or a 404, and counts.
fn api_server(answer: Option<Value>) -> (Client, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let service = tower::service_fn(move |_: Request<Body>| {
        count.fetch_add(1, Ordering::Relaxed);
        let (code, body) = match &answer {
            Some(answer) => (200, answer.to_string()),
            None => {
                (404, json!({"kind": "Status", "status": "Failure", "code": 404, "message": "not there"}).to_string())
            }
        };
        let response = Response::builder().status(code).body(Body::from(body.into_bytes())).unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    (Client::new(service, "default"), asked)
}

fn meta(name: &str, inject: Option<&str>) -> Meta {
    let labels: HashMap<_, _> = inject.map(|value| (names::LABEL_INJECT, value)).into_iter().collect();
    let object = json!({"metadata": {"name": name, "labels": labels, "annotations": {"a": "b"}}});
    serde_json::from_value(object).unwrap()
}

fn knowing(client: Client, all: &[Meta]) -> Namespaces {
    let namespaces = Namespaces::new(client);
    let gate = Readiness::new().gate("namespaces");
    for meta in all {
        namespaces.hear(watcher::Event::Apply(meta.clone()), &mut Known::new(), &gate);
    }
    namespaces
}

#[tokio::test]
async fn a_list_is_seen_when_it_is_whole_and_opens_the_gate() {
    let namespaces = Namespaces::new(api_server(None).0);
    let readiness = Readiness::new();
    let (gate, mut listed) = (readiness.gate("namespaces"), Known::new());
    let mut hear = |event| {
        namespaces.hear(event, &mut listed, &gate);
        let mut names: Vec<_> = namespaces.known.read().unwrap().keys().cloned().collect();
        names.sort();
        (names.join(","), readiness.is_ready())
    };
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    hear(Init);
    assert_eq!(hear(InitApply(meta("a", None))), (String::new(), false));
    hear(InitApply(meta("b", None)));
    assert_eq!(hear(InitDone), ("a,b".into(), true));
    assert_eq!(hear(Apply(meta("c", None))), ("a,b,c".into(), true));
    assert_eq!(hear(Delete(meta("a", None))), ("b,c".into(), true));
    // a watch that starts anew forgets what is gone, but only once it knows everything
    assert_eq!(hear(Init), ("b,c".into(), true));
    hear(InitApply(meta("d", None)));
    assert_eq!(hear(InitDone), ("d".into(), true));
}

#[tokio::test]
async fn what_the_selectors_contradict_is_read_live() {
    let labelled = json!({"metadata": {"name": "shop", "labels": {names::LABEL_INJECT: "enabled"}}});
    for (path, known, live) in [
        (Path::Ns, Some(Some("enabled")), false),
        (Path::Ns, Some(None), true),
        (Path::Ns, Some(Some("disabled")), true),
        (Path::Ns, None, true),
        (Path::Pod, Some(None), false),
        (Path::Pod, None, true),
    ] {
        let (client, asked) = api_server(Some(labelled.clone()));
        let known: Vec<_> = known.into_iter().map(|inject| meta("shop", inject)).collect();
        let found = knowing(client, &known).find(path, "shop", &Mesh::default()).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), usize::from(live), "{path:?} {known:?}");
        if live {
            assert_eq!(found.labels[names::LABEL_INJECT], "enabled");
        }
    }
}

#[tokio::test]
async fn one_that_is_never_touched_is_not_read_at_all() {
    let (client, asked) = api_server(None);
    let found = knowing(client, &[]).find(Path::Ns, "kube-system", &Mesh::default()).await.unwrap();
    assert_eq!((found.name.as_str(), asked.load(Ordering::Relaxed)), ("kube-system", 0));
}

#[tokio::test]
async fn one_that_cannot_be_read_is_an_error_that_says_why() {
    let error =
        knowing(api_server(None).0, &[]).find(Path::Ns, "shop", &Mesh::default()).await.unwrap_err().to_string();
    assert!(error.starts_with("namespace shop can't be read: ") && error.contains("not there"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_is_not_waited_for() {
    let silent = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let namespaces = knowing(Client::new(silent, "default"), &[]);
    let error = namespaces.find(Path::Ns, "shop", &Mesh::default()).await.unwrap_err().to_string();
    assert_eq!(error, "namespace shop can't be read: no answer within 3 s");
}

#[tokio::test]
async fn the_watch_lists_and_opens_the_gate() {
    let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "1"},
        "items": [{"metadata": {"name": "shop", "labels": {names::LABEL_INJECT: "enabled"}}}]});
    let service = tower::service_fn(move |request: Request<Body>| {
        let list = list.to_string().into_bytes();
        async move {
            if request.uri().query().unwrap_or_default().contains("watch=true") {
                return std::future::pending().await;
            }
            Ok::<_, Infallible>(Response::new(Body::from(list)))
        }
    });
    let namespaces = Namespaces::new(Client::new(service, "default"));
    let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
    let watching = tokio::spawn(namespaces.clone().run(readiness.gate("namespaces"), shutdown.clone()));
    tokio::time::timeout(Duration::from_secs(10), async {
        while !readiness.is_ready() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(namespaces.find(Path::Ns, "shop", &Mesh::default()).await.is_ok());
    shutdown.trigger();
    watching.await.unwrap();
}
