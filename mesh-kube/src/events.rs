//! Kubernetes Events, for people: what happened to an object and why, in `kubectl describe`.
//!
//! Telling never costs the teller anything: a bounded queue, a task that writes, and what doesn't fit or can't be
//! written is counted. Equal Events are one Event with a count, which is written at most every half minute. kube's own
//! recorder isn't used because it takes two Events for equal when only their notes differ, and keeps the first note; and
//! because it writes every repetition.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
pub use kube::runtime::events::EventType as Type;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::apply::explain;

/// A namespace with a thousand Pods may start at once; each has one or two.
const QUEUE: usize = 1024;
/// Repetitions are written this often.
const TICK: Duration = Duration::from_secs(30);
/// An Event that wasn't repeated for so long is over; the next one is a new Event. As client-go.
const WINDOW: Duration = Duration::from_secs(360);
/// More different Events than this within the window aren't worth remembering each.
const REMEMBERED: usize = 4096;
const REQUEST: Duration = Duration::from_secs(10);
/// The API server refuses longer ones.
const NOTE_LIMIT: usize = 1024;
const WORD_LIMIT: usize = 128;

/// Publishes Events in the name of one controller. Clones share the queue; the last one dropped ends it.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Said>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Said {
    object: ObjectReference,
    warning: bool,
    reason: String,
    action: String,
    note: String,
}

impl Events {
    /// Starts the task that writes, on the calling runtime. `controller` is what `kubectl describe` shows under From.
    pub fn new(client: Client, controller: &str) -> Self {
        let (queue, said) = mpsc::channel(QUEUE);
        let dropped = Arc::default();
        let writer = Writer {
            client,
            controller: controller.to_owned(),
            instance: hostname().unwrap_or_else(|| controller.to_owned()),
            known: HashMap::new(),
            last_name: 0,
            failing: false,
            dropped: Arc::clone(&dropped),
        };
        tokio::spawn(writer.run(said));
        Self { queue, dropped }
    }

    /// Tells it about `object`, in the object's namespace (`default` if it has none). `reason` and `action` are one word
    /// each in UpperCamelCase, `note` a sentence; what is too long is cut.
    pub fn publish(&self, object: ObjectReference, kind: Type, reason: &str, action: &str, note: &str) {
        let said = Said {
            object,
            warning: kind == Type::Warning,
            reason: cut(reason, WORD_LIMIT),
            action: cut(action, WORD_LIMIT),
            note: cut(note, NOTE_LIMIT),
        };
        if self.queue.try_send(said).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many Events nobody will see: the queue was full, or the API server refused them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Events that are equal in all of it are one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Kind, namespace, name, uid, field.
    object: [Option<String>; 5],
    warning: bool,
    reason: String,
    action: String,
    note: String,
}

/// An Event that was written.
struct Known {
    namespace: String,
    name: String,
    count: i32,
    last_said: (Instant, Timestamp),
    /// Has the count grown since it was written?
    grown: bool,
}

struct Writer {
    client: Client,
    controller: String,
    instance: String,
    known: HashMap<Key, Known>,
    /// Names are the time in nanoseconds, and unique.
    last_name: i128,
    /// So that a missing permission is said once, not for every Event.
    failing: bool,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    async fn run(mut self, mut said: mpsc::Receiver<Said>) {
        let mut tick = interval_at(Instant::now() + TICK, TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                said = said.recv() => match said {
                    Some(said) => self.hear(said).await,
                    None => break,
                },
                _ = tick.tick() => self.count().await,
            }
        }
        self.count().await;
    }

    async fn hear(&mut self, said: Said) {
        let now = (Instant::now(), Timestamp::now());
        let Said { object, warning, reason, action, note } = said;
        let of = &object;
        let parts = [&of.kind, &of.namespace, &of.name, &of.uid, &of.field_path];
        let key = Key { object: parts.map(Clone::clone), warning, reason, action, note };
        if let Some(known) = self.known.get_mut(&key) {
            known.count = known.count.saturating_add(1);
            known.last_said = now;
            known.grown = true;
            return;
        }
        // An Event must be in its object's namespace; what is in none is told in `default`.
        let namespace = object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        self.last_name = now.1.as_nanosecond().max(self.last_name + 1);
        // Not the object's name, as client-go has it: that may be too long, or have characters that no Event's may.
        let name = format!("{}.{:x}", self.controller, self.last_name);
        let event = Event {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            regarding: Some(object),
            type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(key.reason.clone()),
            action: Some(key.action.clone()),
            note: Some(key.note.clone()),
            event_time: Some(MicroTime(now.1)),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        };
        let api = Api::<Event>::namespaced(self.client.clone(), &namespace);
        let written = timeout(REQUEST, api.create(&PostParams::default(), &event)).await;
        if self.worked(written.map(|result| result.map(drop))) && self.known.len() < REMEMBERED {
            self.known.insert(key, Known { namespace, name, count: 1, last_said: now, grown: false });
        }
    }

    /// Writes the counts that have grown, and forgets what is over.
    async fn count(&mut self) {
        let mut grown = Vec::new();
        self.known.retain(|_, known| {
            if known.grown {
                known.grown = false;
                grown.push((known.namespace.clone(), known.name.clone(), known.count, known.last_said.1));
            }
            known.last_said.0.elapsed() < WINDOW
        });
        for (namespace, name, count, last) in grown {
            let api = Api::<Event>::namespaced(self.client.clone(), &namespace);
            let series = json!({"series": {"count": count, "lastObservedTime": MicroTime(last)}});
            let patched = timeout(REQUEST, api.patch(&name, &PatchParams::default(), &Patch::Merge(series))).await;
            if !self.worked(patched.map(|result| result.map(drop))) {
                // The API server drops Events after a while: the next one is new.
                self.known.retain(|_, known| known.name != name);
            }
        }
    }

    fn worked(&mut self, result: Result<kube::Result<()>, tokio::time::error::Elapsed>) -> bool {
        let error = match result {
            Ok(Ok(())) => {
                self.failing = false;
                return true;
            }
            Ok(Err(error)) => explain(&error).1,
            Err(_) => "no answer".to_owned(),
        };
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(error, "cannot write an Event; further failures are only counted");
        }
        false
    }
}

/// At most so many bytes, ending between two characters.
fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit - '…'.len_utf8());
    format!("{}…", &text[..end])
}

/// In a Pod, the Pod's name.
fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;
    use tokio::time::sleep;

    fn pod(name: &str) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some("shop".into()),
            name: Some(name.into()),
            ..ObjectReference::default()
        }
    }

    /// Method, path, and what interests of the body.
    fn asked(server: &FakeApi) -> Vec<String> {
        let collection = "/api/";
        let ask = |asked: crate::fake_api::Asked| {
            let path = asked.path.replacen("/apis/events.k8s.io/v1/namespaces/", "", 1);
            assert!(!path.starts_with(collection));
            let place = path.split_once(".").map_or(path.as_str(), |(place, _)| place).to_owned();
            let said = asked.body.get("note").or(asked.body.pointer("/series/count")).cloned().unwrap_or_default();
            format!("{} {place} {said}", asked.method)
        };
        server.requests().into_iter().map(ask).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_says_who_what_and_why() {
        let server = FakeApi::new();
        let events = Events::new(server.client(), "outrigger-injector");
        events.publish(pod("web-1"), Type::Warning, "HostNetwork", "Inject", "not injected: hostNetwork is set");
        sleep(Duration::from_secs(1)).await;

        let asked = server.requests().remove(0);
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str()),
            ("POST", "/apis/events.k8s.io/v1/namespaces/shop/events")
        );
        let event: Event = serde_json::from_value(asked.body).unwrap();
        assert!(event.metadata.name.unwrap().starts_with("outrigger-injector."));
        assert_eq!(event.regarding, Some(pod("web-1")));
        let words = [event.type_, event.reason, event.action, event.note, event.reporting_controller];
        assert_eq!(
            words.map(Option::unwrap),
            ["Warning", "HostNetwork", "Inject", "not injected: hostNetwork is set", "outrigger-injector"]
        );
        assert!(event.event_time.is_some() && event.reporting_instance.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn equal_events_are_one_with_a_count_and_a_different_note_is_another() {
        let server = FakeApi::new();
        let events = Events::new(server.client(), "op");
        let say = |name: &str, note: &str| events.publish(pod(name), Type::Normal, "Injected", "Inject", note);
        for _ in 0..50 {
            say("web-1", "one");
        }
        say("web-1", "two");
        say("web-2", "one");
        sleep(TICK * 2).await;
        let post = "POST shop/events";
        let first = [format!("{post} \"one\""), format!("{post} \"two\""), format!("{post} \"one\"")];
        assert_eq!(asked(&server)[..3], first);
        assert_eq!(asked(&server)[3..], ["PATCH shop/events/op 50"]);

        say("web-1", "one");
        sleep(TICK * 2).await;
        assert_eq!(asked(&server)[4..], ["PATCH shop/events/op 51"]);

        sleep(WINDOW).await;
        say("web-1", "one");
        sleep(TICK * 2).await;
        assert_eq!(asked(&server)[5..], [format!("{post} \"one\"")]);
        assert_eq!(events.dropped(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_the_api_server_has_forgotten_is_told_anew() {
        let server = FakeApi::new();
        let events = Events::new(server.client(), "op");
        let say = || events.publish(pod("web-1"), Type::Normal, "Injected", "Inject", "one");
        say();
        sleep(TICK * 2).await;
        server.answer_with(|asked| (asked.method == "PATCH").then_some((404, "not found")));
        say();
        sleep(TICK * 2).await;
        say();
        sleep(TICK * 2).await;
        let one = "POST shop/events \"one\"";
        assert_eq!(asked(&server), [one, "PATCH shop/events/op 2", one]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_away_costs_events_and_nothing_else() {
        let server = FakeApi::new();
        let (client, number) = server.numbered_client();
        let events = Events::new(client, "op");
        server.cut_off(number, true);
        for index in 0..QUEUE * 2 {
            events.publish(pod(&index.to_string()), Type::Normal, "Injected", "Inject", "one");
        }
        assert_eq!(events.dropped(), QUEUE as u64);
        sleep(REQUEST * 3).await;
        assert!(events.dropped() > QUEUE as u64);
        server.cut_off(number, false);
        sleep(REQUEST * 3).await;
        assert!(!server.requests().is_empty());
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(cut("short", 128), "short");
        assert_eq!(cut(&"ü".repeat(64), 128), "ü".repeat(64));
        assert_eq!(cut(&"ü".repeat(65), 128), format!("{}…", "ü".repeat(62)));
        assert_eq!(cut(&"x".repeat(2000), NOTE_LIMIT).len(), NOTE_LIMIT);
    }
}
