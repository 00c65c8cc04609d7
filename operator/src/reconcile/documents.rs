//! One namespace's document: compile, check, compare with what stands there, write or delete.

use super::{About, BETWEEN_WRITES, Job, Reconciler, Told};
use crate::compile::document;
use crate::metrics::Written;
use crate::plan::{self, Facts, Seen, Step};
use crate::publish::WriteError;
use crate::status::{Outcome, Reason};
use mesh_config::names;
use mesh_config::proxy::Valid;
use tokio::time::Instant;

impl Reconciler {
    /// A ConfigMap came, changed or went.
    pub(super) fn see(&mut self, namespace: &str, seen: Option<Seen>, now: Instant) {
        let expected = match (&seen, self.last_write.get(namespace), self.outcomes.0.get(namespace)) {
            (Some(seen), Some((_, hash)), _) | (Some(seen), None, Some(Outcome::Written { hash })) => seen.is(hash),
            (seen, ..) => seen.is_none() && !self.index.is_meshed(namespace),
        };
        match seen {
            Some(seen) => self.seen.insert(namespace.to_owned(), seen),
            None => self.seen.remove(namespace),
        };
        // our own write's echo is expected; everything else is looked at
        if !expected && self.leads && self.waits_for().is_none() {
            self.look_at(namespace.to_owned(), now);
        }
    }

    /// Queues a namespace. What was written of it may not be what policies ask for any more.
    pub(super) fn look_at(&mut self, namespace: String, now: Instant) {
        if matches!(self.outcomes.0.get(&namespace), Some(Outcome::Written { .. })) {
            self.outcomes.0.remove(&namespace);
        }
        let at = self.last_write.get(&namespace).map_or(now, |(at, _)| now.max(*at + BETWEEN_WRITES));
        self.documents.add(namespace, at);
    }

    /// A namespace's turn. What is to be written is decided now, from what is known now.
    pub(super) fn document(&mut self, namespace: String, now: Instant) -> Option<Job> {
        let index = &self.index;
        let (meshed, ending) = (index.is_meshed(&namespace), index.is_ending(&namespace));
        let compiled = if meshed && !ending { Some(self.compile(&namespace, now)) } else { None };
        if compiled.is_none() {
            self.outcomes.0.remove(&namespace);
            self.last_write.remove(&namespace);
            self.metrics.forget(&namespace);
        }
        let compiled = compiled.and_then(Result::ok);
        let facts = Facts {
            ending,
            meshed,
            proxies: self.index.has_proxies(&namespace),
            wanted: compiled.as_ref().map(|(_, hash)| hash.as_str()),
            seen: self.seen.get(&namespace),
            certain: self.lists.values().all(crate::watch::Relist::is_certain),
        };
        match (plan::step(facts), compiled) {
            (Step::Write, Some((json, hash))) => {
                self.last_write.insert(namespace.clone(), (now, hash.clone()));
                Some(Job::Write { namespace, json, hash })
            }
            (Step::Delete, _) => {
                let seen = self.seen.get(&namespace);
                let (uid, resource_version) =
                    seen.map(|seen| (seen.uid.clone(), seen.resource_version.clone())).unwrap_or_default();
                Some(Job::Delete { namespace, uid, resource_version })
            }
            (_, compiled) => {
                self.documents.succeeded(&namespace);
                if let Some((_, hash)) = compiled {
                    self.settle(namespace, Outcome::Written { hash }, now);
                }
                None
            }
        }
    }

    /// The bytes and their hash, or nothing where they can't be written; then the outcome says so.
    fn compile(&mut self, namespace: &str, now: Instant) -> Result<(String, String), ()> {
        let started = std::time::Instant::now();
        let json = document(&self.index, namespace, &self.callers).to_json();
        let valid = Valid::from_bytes(json.as_bytes());
        self.metrics.compiled(namespace, started.elapsed(), json.len());
        let (outcome, written, reason, note) = match valid {
            Ok(_) if json.len() <= names::DOCUMENT_MAX_BYTES => {
                let hash = mesh_config::hash(json.as_bytes());
                return Ok((json, hash));
            }
            Ok(_) => (
                // in KiB, so that not every byte more is news
                Outcome::TooLarge { kib: json.len() / 1024 },
                Written::TooLarge,
                Reason::TooLarge,
                format!("the document has {} KiB, more than {}", json.len() / 1024, names::DOCUMENT_MAX_BYTES / 1024),
            ),
            Err(problems) => (
                Outcome::Refused { message: problems.to_string() },
                Written::Invalid,
                Reason::InvalidDocument,
                format!("the document is not valid, which is a fault of the operator: {problems}"),
            ),
        };
        tracing::error!(namespace, reason = reason.as_str(), note, "document not written");
        self.metrics.document(written);
        if self.outcomes.0.get(namespace) != Some(&outcome) {
            let note = format!("{note}; what stands there stays in force");
            self.tell_of_document(namespace, reason, note);
            self.settle(namespace.to_owned(), outcome, now);
        }
        Err(())
    }

    pub(super) fn written(
        &mut self,
        namespace: String,
        hash: String,
        bytes: usize,
        result: Result<(), WriteError>,
        now: Instant,
    ) {
        match result {
            Ok(()) => {
                tracing::info!(namespace, hash, bytes, "document written");
                self.metrics.document(Written::Written);
                self.documents.succeeded(&namespace);
                self.settle(namespace, Outcome::Written { hash }, now);
            }
            Err(WriteError::Gone(reason)) => {
                // the watch of Namespaces says the same in a moment
                tracing::debug!(namespace, reason, "document not written: the namespace is going");
                self.documents.succeeded(&namespace);
            }
            Err(WriteError::Failed(message)) => {
                tracing::warn!(namespace, error = message, "document not written; tried again");
                self.metrics.document(Written::Failed);
                self.documents.failed(&namespace, now);
                self.tell_of_document(&namespace, Reason::WriteFailed, message.clone());
                self.settle(namespace, Outcome::Failed { message }, now);
            }
        }
    }

    pub(super) fn deleted(&mut self, namespace: &String, result: Result<(), WriteError>, now: Instant) {
        match result {
            Ok(()) => {
                tracing::info!(namespace, "document deleted: no proxy is left");
                self.metrics.document(Written::Deleted);
                self.documents.succeeded(namespace);
            }
            Err(WriteError::Gone(reason)) => {
                tracing::debug!(namespace, reason, "document not deleted: it is gone, or another one");
                self.documents.succeeded(namespace);
            }
            Err(WriteError::Failed(error)) => {
                tracing::warn!(namespace, error, "document not deleted; tried again");
                self.metrics.document(Written::Failed);
                self.documents.failed(namespace, now);
            }
        }
    }

    fn settle(&mut self, namespace: String, outcome: Outcome, now: Instant) {
        if self.outcomes.0.get(&namespace) != Some(&outcome) {
            self.outcomes.0.insert(namespace, outcome);
            self.stale.get_or_insert(now);
        }
    }

    fn tell_of_document(&mut self, namespace: &str, reason: Reason, note: String) {
        let about = About::Document { namespace: namespace.to_owned() };
        self.told.push(Told { about, reason: reason.as_str(), note });
    }
}
