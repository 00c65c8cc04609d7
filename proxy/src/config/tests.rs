use super::*;
use crate::testing::{TempDir, options};
use mesh_config::Settings;
use mesh_config::pod::Identity;
use mesh_runtime::readiness::Readiness;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

const GOOD: &str = r#"{"version": 1}"#;
const BAD: &str = r#"{"version": 9, "layers": [{"source": ""}]}"#;

struct Bench {
    config: Config,
    readiness: Readiness,
    telemetry: Arc<Telemetry>,
    snapshots: mpsc::UnboundedReceiver<Snapshot>,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn start(options: &Options) -> Bench {
        let (sender, snapshots) = mpsc::unbounded_channel();
        let (config, readiness, telemetry) = (Config::new(options), Readiness::new(), Telemetry::new());
        let gate = readiness.gate("configuration");
        let source = Source::new(options, config.clone(), Arc::clone(&telemetry), gate, move |snapshot| {
            let _ = sender.send(snapshot);
        });
        let task = tokio::spawn(source.run());
        Bench { config, readiness, telemetry, snapshots, task }
    }

    /// The next one put in force, as generation and hash.
    async fn next(&mut self) -> (u64, String) {
        let snapshot = timeout(Duration::from_secs(60), self.snapshots.recv()).await.expect("a snapshot").unwrap();
        (snapshot.generation, snapshot.hash.to_string())
    }

    async fn until(&self, what: impl Fn(&Keeper) -> bool) {
        timeout(Duration::from_secs(60), async {
            while !what(&self.config.keeper()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("a change");
    }

    fn metric(&self, line: &str) {
        let page = self.telemetry.metrics.encode();
        assert!(page.lines().any(|have| have == line), "{line} is not in\n{page}");
    }
}

fn hash(text: &str) -> String {
    mesh_config::hash(text.as_bytes())
}

fn stored(directory: &Path) -> Option<String> {
    State::new(directory).load().map(|(bytes, _)| String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn a_good_document_is_put_in_force_and_a_bad_one_keeps_it() {
    let dir = TempDir::new();
    dir.write("proxy.json", GOOD);
    let mut bench = Bench::start(&options(dir.path(), Settings::default()));
    assert_eq!(bench.next().await, (1, hash(GOOD)));
    assert!(bench.readiness.is_ready());

    dir.write("proxy.json", BAD);
    bench.until(|keeper| keeper.refused().is_some()).await;
    assert!(bench.readiness.is_ready(), "the last good one holds");
    bench.metric("outrigger_config_reload_total{result=\"refused\"} 1");
    bench.metric(&format!("outrigger_config_info{{hash=\"{}\"}} 1", hash(GOOD)));
    let page = dump::page(&bench.config.keeper(), &Identity::default());
    assert_eq!(page["refused"]["hash"], hash(BAD));
    assert_eq!(page["refused"]["problems"][1]["path"], "layers[0].source");
    assert_eq!((&page["inForce"]["generation"], &page["inForce"]["origin"]), (&1.into(), &"source".into()));

    let better = r#"{"version": 1, "namespace": "shop"}"#;
    dir.write("proxy.json", better);
    assert_eq!(bench.next().await, (2, hash(better)));
    bench.metric("outrigger_config_reload_total{result=\"applied\"} 2");
    std::fs::remove_file(dir.path().join("proxy.json")).unwrap();
    bench.until(|keeper| keeper.missing().is_some()).await;
    assert!(bench.readiness.is_ready());
}

#[tokio::test]
async fn with_no_document_at_all_it_is_not_ready_and_says_why() {
    let dir = TempDir::new();
    let mut bench = Bench::start(&options(dir.path(), Settings::default()));
    bench.until(|keeper| keeper.missing().is_some()).await;
    timeout(Duration::from_secs(60), async {
        while !bench.readiness.report().ends_with("proxy.json is not there\n") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("a reason");
    let page = dump::page(&bench.config.keeper(), &Identity::default());
    assert!(page["unavailable"].as_str().unwrap().ends_with("proxy.json is not there"), "{page}");
    dir.write("proxy.json", GOOD);
    assert_eq!(bench.next().await.0, 1);
}

#[tokio::test]
async fn a_container_that_starts_again_with_a_bad_document_takes_the_last_good_one() {
    let (dir, state) = (TempDir::new(), TempDir::new());
    let mut options = options(dir.path(), Settings::default());
    options.state_dir = Some(state.path().into());
    dir.write("proxy.json", GOOD);
    let mut before = Bench::start(&options);
    before.next().await;
    before.task.abort();
    assert_eq!(stored(state.path()).as_deref(), Some(GOOD));

    dir.write("proxy.json", BAD);
    let mut after = Bench::start(&options);
    assert_eq!(after.next().await, (1, hash(GOOD)));
    let page = dump::page(&after.config.keeper(), &Identity::default());
    assert_eq!((&page["inForce"]["origin"], &page["refused"]["hash"]), (&"lastGood".into(), &hash(BAD).into()));
    assert_eq!(stored(state.path()).as_deref(), Some(GOOD), "a bad one is never kept");
}

#[tokio::test]
async fn policies_follow_the_workloads_labels() {
    let dir = TempDir::new();
    let mut options = options(dir.path(), Settings::default());
    options.labels = Some(Watched { directory: dir.path().into(), name: "labels".into() });
    dir.write(
        "proxy.json",
        r#"{"version": 1, "layers": [{"source": "p", "selector": {"matchLabels": {"app": "web"}}, "authorization": {"default": "Deny"}}]}"#,
    );
    let mut bench = Bench::start(&options);
    bench.until(Keeper::has_document).await;
    assert!(!bench.readiness.is_ready(), "a policy that selects by label would not hold");
    dir.write("labels", "nonsense\n");
    dir.write("labels", "app=\"web\"\n");
    bench.next().await;
    let page = |bench: &Bench| dump::page(&bench.config.keeper(), &Identity::default());
    assert_eq!(page(&bench)["inForce"]["workload"]["otherPorts"]["authorization"]["default"], "Deny");
    dir.write("labels", "app=\"api\"\n");
    assert_eq!(bench.next().await.0, 2);
    assert_eq!(page(&bench)["inForce"]["workload"]["otherPorts"]["authorization"]["default"], "Allow");
    assert_eq!(page(&bench)["inForce"]["labels"]["app"], "api");
}
