//! What the one loop knows and decides: it hears news, and gives jobs. No client, no task; time is passed in.
//!
//! ```text
//! hear(news) -> index, lists, seen ---- quiet for a moment ----> refresh: which namespaces, which statuses
//! turn() -> compile one namespace  -> plan::step -> Job::Write, Job::Delete
//!        -> judge one policy       -> status     -> Job::Status
//! finished(job, result) -> outcome of the document, retries, what to tell people
//! ```
//!
//! A follower hears everything and decides nothing. Whoever comes to lead looks at everything once; where nothing
//! differs, nothing is written. Before every list was whole once, nothing is decided at all.

mod documents;
mod mesh;
mod statuses;
#[cfg(test)]
mod tests;

use crate::compile::Callers;
use crate::index::{Index, Key};
use crate::metrics::Metrics;
use crate::plan::Seen;
use crate::publish::WriteError;
use crate::queue::Queue;
use crate::status::Documents;
use crate::watch::{Heard, News, Object, Relist, Source};
use crds::MeshPolicyStatus;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Objects often come in bursts (`kubectl apply -f directory`): wait for so long after the last one,
const QUIET: Duration = Duration::from_millis(20);
/// but never longer than this after the first.
const LONGEST_BURST: Duration = Duration::from_millis(200);
/// Statuses wait until documents are written, but never longer than this.
const LONGEST_WRITES: Duration = Duration::from_secs(1);
/// Between two writes of one document. Every Service of the cluster is in every document, and whoever fights over one with
/// us should not win by speed.
const BETWEEN_WRITES: Duration = Duration::from_secs(1);
/// Writes under way at the same time, of documents and of statuses each.
const AT_ONCE: usize = 8;

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    Write {
        namespace: String,
        json: String,
        hash: String,
    },
    Delete {
        namespace: String,
        uid: Option<String>,
        resource_version: Option<String>,
    },
    /// With what people should hear once it is written.
    Status {
        policy: Key,
        uid: String,
        status: Box<MeshPolicyStatus>,
        told: Vec<Told>,
    },
}

/// An Event for people, always a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub about: About,
    pub reason: &'static str,
    pub note: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    Policy {
        key: Key,
        uid: String,
    },
    /// The ConfigMap of a namespace, whether it exists or not.
    Document {
        namespace: String,
    },
}

/// What a turn came to.
#[derive(Debug, PartialEq)]
pub enum Turn {
    Job(Job),
    /// Something was looked at, and needs nothing.
    Looked,
    /// There is nothing to do before [`Reconciler::wake`].
    Idle,
}

pub struct Reconciler {
    index: Index,
    metrics: Metrics,
    lists: BTreeMap<Source, Relist<Key>>,
    /// A `mesh.yaml` is in force: without it, nobody knows which namespaces are excluded.
    mesh_known: bool,
    /// The ConfigMaps that stand in the API, by namespace.
    seen: BTreeMap<String, Seen>,
    leads: bool,
    /// Look at everything, at the next refresh.
    everything: bool,
    /// News were heard and not yet acted upon: the first's time, and the last's.
    burst: Option<(Instant, Instant)>,
    callers: Callers,
    outcomes: Documents,
    documents: Queue<String>,
    /// When each document was written last, and its hash.
    last_write: BTreeMap<String, (Instant, String)>,
    /// Since when statuses may be other than they should.
    stale: Option<Instant>,
    statuses: Queue<Key>,
    /// Policies whose status differs by hashes alone, and when it is to be written.
    hash_alone: BTreeMap<Key, Instant>,
    told: Vec<Told>,
}

impl Reconciler {
    pub fn new(system_namespace: &str, metrics: Metrics) -> Self {
        Reconciler {
            index: Index::new(system_namespace),
            metrics,
            lists: Source::ALL.into_iter().map(|source| (source, Relist::default())).collect(),
            mesh_known: false,
            seen: BTreeMap::new(),
            leads: false,
            everything: false,
            burst: None,
            callers: Callers::default(),
            outcomes: Documents::default(),
            documents: Queue::default(),
            last_write: BTreeMap::new(),
            stale: None,
            statuses: Queue::default(),
            hash_alone: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    /// Why nothing is decided yet; `None`: all is known.
    pub fn waits_for(&self) -> Option<String> {
        let incomplete = self.lists.iter().filter(|(_, list)| !list.is_complete()).map(|(source, _)| source.as_str());
        let incomplete: Vec<&str> = incomplete.collect();
        if !incomplete.is_empty() {
            Some(format!("no whole list yet of {}", incomplete.join(", ")))
        } else if !self.mesh_known {
            Some("mesh.yaml of ConfigMap outrigger-mesh is bad; correct it".to_owned())
        } else {
            None
        }
    }

    pub fn hear(&mut self, heard: Heard, now: Instant) {
        let Heard { source, news } = heard;
        let list = self.lists.entry(source).or_default();
        match news {
            News::Begin => list.begin(),
            News::Applied(key, object) => {
                list.applied(key.clone());
                self.apply(&key, object, now);
            }
            News::Deleted(key) => {
                list.deleted(&key);
                self.forget(source, &key, now);
            }
            News::End => {
                for key in list.end() {
                    self.forget(source, &key, now);
                }
                if source == Source::Mesh {
                    self.mesh_listed();
                }
                // what had to wait for certainty needn't wait any more
                self.everything = true;
            }
            News::Failed { error, lists } => {
                if lists {
                    // from now on, not from the new list's beginning, nobody knows what went
                    list.begin();
                }
                self.metrics.watch_failed(source);
                tracing::warn!(resource = source.as_str(), error, "watch failed; begun again");
                return;
            }
        }
        let first = self.burst.map_or(now, |(first, _)| first);
        self.burst = Some((first, now));
    }

    fn apply(&mut self, key: &Key, object: Object, now: Instant) {
        match object {
            Object::Namespace { labels, terminating } => self.index.apply_namespace(&key.name, &labels, terminating),
            Object::Service(service) => self.index.apply_service(&service),
            Object::Pod => self.index.apply_pod(key),
            Object::Policy(raw) => self.index.apply_policy(&raw),
            Object::Document(seen) => self.see(&key.namespace, Some(seen), now),
            Object::Mesh(yaml) => self.take_mesh(&yaml),
        }
    }

    fn forget(&mut self, source: Source, key: &Key, now: Instant) {
        match source {
            Source::Namespaces => self.index.delete_namespace(&key.name),
            Source::Services => self.index.delete_service(key),
            Source::Pods => self.index.delete_pod(key),
            Source::Policies => self.index.delete_policy(key),
            Source::Documents => self.see(&key.namespace, None, now),
            Source::Mesh => self.mesh_gone(),
        }
    }

    /// Leadership came or went.
    pub fn lead(&mut self, leads: bool, now: Instant) {
        self.metrics.leads(leads);
        self.leads = leads;
        self.documents.clear();
        self.statuses.clear();
        self.hash_alone.clear();
        self.outcomes = Documents::default();
        self.last_write.clear();
        self.stale = None;
        self.everything = true;
        self.burst = Some((now, now));
    }

    /// Does one thing.
    pub fn turn(&mut self, now: Instant, clock: Timestamp) -> Turn {
        if self.refresh_at().is_some_and(|at| at <= now) {
            self.burst = None;
            self.refresh(now);
            return Turn::Looked;
        }
        if self.documents.running() < AT_ONCE
            && let Some(namespace) = self.documents.pop(now)
        {
            return self.document(namespace, now).map_or(Turn::Looked, Turn::Job);
        }
        let settled = self.documents.running() == 0 && self.documents.next().is_none_or(|at| at > now);
        if self.stale.is_some_and(|since| settled || since + LONGEST_WRITES <= now) {
            self.stale = None;
            for policy in self.index.policies() {
                self.statuses.add(policy.key.clone(), now);
            }
            return Turn::Looked;
        }
        if self.statuses.running() < AT_ONCE
            && let Some(policy) = self.statuses.pop(now)
        {
            return self.status(policy, now, clock).map_or(Turn::Looked, Turn::Job);
        }
        Turn::Idle
    }

    fn refresh_at(&self) -> Option<Instant> {
        self.burst.map(|(first, last)| (last + QUIET).min(first + LONGEST_BURST))
    }

    /// When a turn will have something to do, if nothing is heard and no job ends before.
    pub fn wake(&self) -> Option<Instant> {
        let queued = |running: usize, next: Option<Instant>| next.filter(|_| running < AT_ONCE);
        let times = [
            self.refresh_at(),
            queued(self.documents.running(), self.documents.next()),
            self.stale.map(|since| since + LONGEST_WRITES),
            queued(self.statuses.running(), self.statuses.next()),
        ];
        times.into_iter().flatten().min()
    }

    /// From what changed in the index to what is to be looked at.
    fn refresh(&mut self, now: Instant) {
        if self.waits_for().is_some() {
            return;
        }
        self.metrics.policies(&self.index);
        let dirty = self.index.take_dirty();
        if !self.leads {
            // whoever comes to lead looks at everything anyway
            return;
        }
        let mut everything = std::mem::take(&mut self.everything) || dirty.everything;
        if everything || dirty.callers {
            let callers = Callers::of(&self.index);
            everything |= callers != self.callers;
            self.callers = callers;
        }
        if everything {
            let all = self.index.namespaces().chain(self.seen.keys().map(String::as_str));
            let all: Vec<String> = all.map(str::to_owned).collect();
            all.into_iter().for_each(|namespace| self.look_at(namespace, now));
        }
        dirty.namespaces.iter().for_each(|namespace| self.look_at(namespace.clone(), now));
        if everything || !dirty.is_clean() {
            self.stale.get_or_insert(now);
        }
    }

    /// A job ended.
    pub fn finished(&mut self, job: Job, result: Result<(), WriteError>, now: Instant) {
        match job {
            Job::Write { namespace, hash, json } => self.written(namespace, hash, json.len(), result, now),
            Job::Delete { namespace, .. } => self.deleted(&namespace, result, now),
            Job::Status { policy, uid, status, told } => {
                self.status_written(&policy, &uid, *status, told, result, now);
            }
        }
    }

    /// What people should hear, once.
    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }
}
