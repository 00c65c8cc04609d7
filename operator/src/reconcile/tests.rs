//! What is decided when, without any loop: bursts, hashes, sizes.

use super::*;
use crate::testing;
use serde_json::{Value, json};

const CLUSTER: &str = "
{kind: Namespace, metadata: {name: shop, labels: {outrigger.dev/inject: enabled}}}
---
{kind: MeshPolicy, metadata: {namespace: shop, name: deny, uid: u, generation: 1}, spec: {targetRefs: [{kind: Namespace}], authorization: {default: Deny}}}
";

struct Stage {
    reconciler: Reconciler,
    now: Instant,
    start: Instant,
}

impl Stage {
    /// Leads, and has heard everything.
    fn new(yaml: &str) -> Self {
        let now = Instant::now();
        let mut stage = Stage { reconciler: Reconciler::new(testing::SYSTEM, Metrics::new(None)), now, start: now };
        for object in testing::objects(yaml) {
            stage.applied(&object);
        }
        stage.reconciler.lead(true, now);
        for source in Source::ALL {
            stage.hear(source, News::Begin);
            let known: Vec<Value> = testing::objects(yaml).into_iter().filter(|o| of(o).0 == source).collect();
            known.iter().for_each(|object| stage.applied(object));
            stage.hear(source, News::End);
        }
        stage
    }

    fn hear(&mut self, source: Source, news: News) {
        self.reconciler.hear(Heard { source, news }, self.now);
    }

    fn applied(&mut self, object: &Value) {
        let (source, key, object) = of(object);
        self.hear(source, News::Applied(key, object));
    }

    /// Time passes; the first job, unless the time is over before.
    fn job_within(&mut self, milliseconds: u64) -> Option<Job> {
        let end = self.now + Duration::from_millis(milliseconds);
        loop {
            match self.reconciler.turn(self.now, Timestamp::UNIX_EPOCH) {
                Turn::Job(job) => return Some(job),
                Turn::Looked => {}
                Turn::Idle => match self.reconciler.wake().filter(|wake| *wake <= end) {
                    Some(wake) => {
                        assert!(wake > self.now, "it would spin");
                        self.now = wake;
                    }
                    None => {
                        self.now = end;
                        return None;
                    }
                },
            }
        }
    }

    fn done(&mut self, job: Job) {
        self.reconciler.finished(job, Ok(()), self.now);
    }

    fn milliseconds(&self) -> u128 {
        (self.now - self.start).as_millis()
    }
}

fn of(object: &Value) -> (Source, Key, Object) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let key = Key::new(text("namespace"), text("name"));
    let labels = serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default();
    match object["kind"].as_str().unwrap() {
        "Namespace" => (Source::Namespaces, key, Object::Namespace { labels, terminating: false }),
        "Service" => {
            (Source::Services, key, Object::Service(Box::new(serde_json::from_value(object.clone()).unwrap())))
        }
        "MeshPolicy" => (Source::Policies, key, Object::Policy(object.clone())),
        other => panic!("no test knows what to do with a {other}"),
    }
}

fn service(number: u32) -> Value {
    json!({"kind": "Service", "metadata": {"namespace": "shop", "name": format!("s{number}")},
        "spec": {"clusterIP": format!("10.{}.{}.1", number / 256, number % 256), "ports": [{"name": "http", "port": 80}]}})
}

fn name(job: &Job) -> &'static str {
    match job {
        Job::Write { .. } => "write",
        Job::Delete { .. } => "delete",
        Job::Status { .. } => "status",
    }
}

#[test]
fn a_burst_is_one_write_after_a_moment_of_quiet_and_never_later_than_its_bound() {
    let mut stage = Stage::new(CLUSTER);
    let job = stage.job_within(1000).unwrap();
    assert_eq!((name(&job), stage.milliseconds()), ("write", 20));
    stage.done(job);
    let job = stage.job_within(0).unwrap();
    assert_eq!(name(&job), "status");
    stage.done(job);

    assert_eq!(stage.job_within(5000), None);
    let before = stage.now;
    for number in 0..100 {
        stage.applied(&service(number));
        if let Some(job) = stage.job_within(10) {
            assert_eq!((name(&job), stage.now - before), ("write", LONGEST_BURST));
            return;
        }
    }
    panic!("100 changes within a second, and not one write");
}

#[test]
fn a_document_is_written_at_most_once_a_second_and_a_policy_waits_for_it() {
    let mut stage = Stage::new(CLUSTER);
    for _ in 0..2 {
        let job = stage.job_within(100).unwrap();
        stage.done(job);
    }
    let written = stage.now;
    let mut policy = testing::objects(CLUSTER).remove(1);
    policy["metadata"]["generation"] = 2.into();
    policy["spec"]["authorization"]["default"] = "Allow".into();
    stage.applied(&policy);
    let job = stage.job_within(5000).unwrap();
    assert_eq!((name(&job), stage.now - written), ("write", BETWEEN_WRITES), "and no status before");
    stage.done(job);
    assert_eq!(stage.job_within(0).as_ref().map(name), Some("status"));
}

#[test]
fn a_status_that_differs_by_its_hash_alone_waits_and_comes() {
    let mut stage = Stage::new(CLUSTER);
    for _ in 0..2 {
        let job = stage.job_within(100).unwrap();
        stage.done(job);
    }
    assert_eq!(stage.job_within(60_000), None);

    for number in 0..3 {
        stage.applied(&service(number));
        let job = stage.job_within(1000).unwrap();
        assert_eq!(name(&job), "write");
        stage.done(job);
        assert_eq!(stage.job_within(1000), None);
    }
    let job = stage.job_within(5000).unwrap();
    let Job::Status { status, .. } = &job else { panic!("{job:?}") };
    let hash = &stage.reconciler.outcomes.hash("shop").unwrap();
    assert_eq!(status.summary.as_ref().unwrap().hash, **hash);
    stage.done(job);
    assert_eq!(stage.job_within(60_000), None);
}

#[test]
fn a_status_waits_for_its_document_and_shows_how_it_went() {
    let mut stage = Stage::new(CLUSTER);
    let write = stage.job_within(100).unwrap();
    assert_eq!(stage.job_within(5000), None, "nothing is said before the write has ended");
    stage.reconciler.finished(write, Err(WriteError::Failed("no".into())), stage.now);
    let job = stage.job_within(0).unwrap();
    let Job::Status { status, .. } = &job else { panic!("{job:?}") };
    let programmed = status.conditions.iter().find(|condition| condition.type_ == "Programmed").unwrap();
    assert_eq!(programmed.reason, "WriteFailed");
    stage.done(job);
    let told: Vec<_> = stage.reconciler.take_told().into_iter().map(|told| (told.about, told.reason)).collect();
    let policy = About::Policy { key: Key::new("shop", "deny"), uid: "u".into() };
    assert_eq!(told, [(About::Document { namespace: "shop".into() }, "WriteFailed"), (policy, "WriteFailed")]);
}

#[test]
fn a_document_that_is_too_large_is_not_written_and_its_policies_say_so() {
    let mut stage = Stage::new(CLUSTER);
    for _ in 0..2 {
        let job = stage.job_within(100).unwrap();
        stage.done(job);
    }
    for number in 0..12_000 {
        stage.applied(&service(number));
    }
    let job = stage.job_within(1000).unwrap();
    let Job::Status { status, .. } = &job else { panic!("{job:?}") };
    let programmed = status.conditions.iter().find(|condition| condition.type_ == "Programmed").unwrap();
    assert_eq!((programmed.status.as_str(), programmed.reason.as_str()), ("False", "TooLarge"));
    assert!(programmed.message.contains("at most 900 KiB are written"), "{}", programmed.message);
    stage.done(job);
    assert_eq!(stage.job_within(60_000), None);
    let reasons: Vec<_> = stage.reconciler.take_told().into_iter().map(|told| told.reason).collect();
    assert_eq!(reasons, ["TooLarge", "TooLarge"]);
}

#[test]
fn a_leader_that_was_one_forgets_what_it_was_about_to_do() {
    let mut stage = Stage::new(CLUSTER);
    stage.reconciler.lead(false, stage.now);
    assert_eq!(stage.job_within(60_000), None);
    stage.reconciler.lead(true, stage.now);
    assert_eq!(stage.job_within(100).as_ref().map(name), Some("write"));
}
