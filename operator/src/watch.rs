//! The API's objects as one stream of news, each object cut down to what we keep of it.
//!
//! MeshPolicies are read as raw JSON: a typed list fails as a whole over one bad object, and would blind us. Pods and
//! Namespaces are read as metadata alone.
//!
//! A watch that fails is begun again, after growing pauses; nothing is forgotten meanwhile.

mod relist;

pub use relist::Relist;

use crate::index::Key;
use crate::plan::Seen;
use crds::MeshPolicy;
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1 as core;
use kube::api::{ApiResource, DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Api, Client};
use mesh_config::names;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// The documents of so many namespaces are read at once; each may have 900 KiB.
const DOCUMENTS_PER_PAGE: u32 = 20;

/// kube's own longest pause is 30 s, and for so long after an outage a new namespace's Pods couldn't start.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Namespaces,
    Services,
    Pods,
    Policies,
    Documents,
    Mesh,
}

impl Source {
    pub const ALL: [Source; 6] =
        [Source::Namespaces, Source::Services, Source::Pods, Source::Policies, Source::Documents, Source::Mesh];

    /// For logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Namespaces => "namespaces",
            Source::Services => "services",
            Source::Pods => "pods",
            Source::Policies => "meshpolicies",
            Source::Documents => names::CONFIGMAP_PROXY,
            Source::Mesh => names::CONFIGMAP_MESH,
        }
    }
}

/// What one watch says. A Namespace's key has no namespace.
#[derive(Debug)]
pub struct Heard {
    pub source: Source,
    pub news: News,
}

#[derive(Debug)]
pub enum News {
    /// A list begins.
    Begin,
    /// An object, listed, new or changed.
    Applied(Key, Object),
    Deleted(Key),
    /// The list is whole.
    End,
    /// The watch is begun again: where it stopped, or with a list.
    Failed {
        error: String,
        lists: bool,
    },
}

#[derive(Debug)]
pub enum Object {
    Namespace {
        labels: BTreeMap<String, String>,
        terminating: bool,
    },
    Service(Box<core::Service>),
    /// That it is there is all.
    Pod,
    Policy(Value),
    Document(Seen),
    /// `mesh.yaml`; empty where the ConfigMap has no such key.
    Mesh(String),
}

/// Every watch there is; it never ends.
pub fn everything(client: &Client, system_namespace: &str) -> SelectAll<BoxStream<'static, Heard>> {
    let by_name = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let policies = ApiResource::erase::<MeshPolicy>(&());
    futures_util::stream::select_all([
        heard(
            Source::Namespaces,
            watcher(Api::<PartialObjectMeta<core::Namespace>>::all(client.clone()), watcher::Config::default()),
            |object| (object.metadata.clone(), namespace(object.metadata)),
        ),
        heard(
            Source::Services,
            watcher(Api::<core::Service>::all(client.clone()), watcher::Config::default()),
            |object| (object.metadata.clone(), Object::Service(Box::new(object))),
        ),
        heard(
            Source::Pods,
            watcher(
                Api::<PartialObjectMeta<core::Pod>>::all(client.clone()),
                watcher::Config::default().labels(names::LABEL_PROXY),
            ),
            |object| (object.metadata, Object::Pod),
        ),
        heard(
            Source::Policies,
            watcher(Api::<DynamicObject>::all_with(client.clone(), &policies), watcher::Config::default()),
            |mut object| {
                object.metadata.managed_fields = None;
                (object.metadata.clone(), Object::Policy(serde_json::to_value(object).unwrap_or_default()))
            },
        ),
        heard(
            Source::Documents,
            watcher(
                Api::<core::ConfigMap>::all(client.clone()),
                by_name(names::CONFIGMAP_PROXY).page_size(DOCUMENTS_PER_PAGE),
            ),
            |object| (object.metadata.clone(), Object::Document(Seen::of(&object))),
        ),
        heard(
            Source::Mesh,
            watcher(
                Api::<core::ConfigMap>::namespaced(client.clone(), system_namespace),
                by_name(names::CONFIGMAP_MESH),
            ),
            |mut object| {
                let yaml = object.data.as_mut().and_then(|data| data.remove(names::KEY_MESH));
                (object.metadata, Object::Mesh(yaml.unwrap_or_default()))
            },
        ),
    ])
}

fn heard<K: Send + 'static>(
    source: Source,
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    cut_down: impl Fn(K) -> (ObjectMeta, Object) + Send + 'static,
) -> BoxStream<'static, Heard> {
    let news = move |event: watcher::Result<Event<K>>| match event {
        Ok(Event::Init) => News::Begin,
        Ok(Event::InitDone) => News::End,
        Ok(Event::Apply(object) | Event::InitApply(object)) => {
            let (metadata, object) = cut_down(object);
            News::Applied(key(metadata), object)
        }
        Ok(Event::Delete(object)) => News::Deleted(key(cut_down(object).0)),
        Err(error) => News::Failed { lists: lists(&error), error: error.to_string() },
    };
    events.backoff(Pauses(DefaultBackoff::default())).map(move |event| Heard { source, news: news(event) }).boxed()
}

/// kube's pauses, but for the long ones.
struct Pauses(DefaultBackoff);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(LONGEST_PAUSE))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// Whether kube's watcher lists anew after this error; it says so only when it does, after a pause.
fn lists(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(_) | watcher::Error::NoResourceVersion => true,
        watcher::Error::WatchError(status) => status.code == 410,
        watcher::Error::WatchStartFailed(_) | watcher::Error::WatchFailed(_) => false,
    }
}

fn key(metadata: ObjectMeta) -> Key {
    Key::new(metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default())
}

fn namespace(metadata: ObjectMeta) -> Object {
    Object::Namespace {
        terminating: metadata.deletion_timestamp.is_some(),
        labels: metadata.labels.unwrap_or_default(),
    }
}
