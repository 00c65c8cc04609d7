//! Which configuration holds: a document and the workload's labels come in, in any order and any state; a snapshot comes
//! out when both are there and good. What is bad changes nothing but what is told of it. No IO.

use mesh_config::proxy::Valid;
use mesh_config::selector::Labels;
use mesh_config::{ContainerPort, Problems};
use proxy_core::snapshot::{Defaults, Snapshot};
use std::sync::Arc;
use std::time::SystemTime;

/// Where a document came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From where it belongs.
    Source,
    /// From the memory of a container that ran before.
    LastGood,
}

/// What is in force.
#[derive(Clone, Debug)]
pub struct InForce {
    pub valid: Arc<Valid>,
    pub hash: String,
    pub origin: Origin,
    pub labels: Labels,
    pub generation: u64,
    pub since: SystemTime,
}

/// What was refused last, unless something good has come since.
#[derive(Clone, Debug)]
pub struct Refused {
    pub hash: String,
    pub problems: Problems,
    pub since: SystemTime,
}

/// The judge.
#[derive(Debug)]
pub struct Keeper {
    ports: Vec<ContainerPort>,
    defaults: Defaults,
    /// `None`: not known yet.
    labels: Option<Labels>,
    document: Option<Document>,
    generation: u64,
    in_force: Option<InForce>,
    refused: Option<Refused>,
    unavailable: Option<String>,
}

/// A valid one.
#[derive(Clone, Debug)]
struct Document {
    valid: Arc<Valid>,
    hash: String,
    origin: Origin,
}

impl Keeper {
    /// `unlabelled`: the workload has no labels, and nobody will say so.
    pub fn new(ports: Vec<ContainerPort>, defaults: Defaults, unlabelled: bool) -> Keeper {
        Keeper {
            ports,
            defaults,
            labels: unlabelled.then(Labels::new),
            document: None,
            generation: 0,
            in_force: None,
            refused: None,
            unavailable: None,
        }
    }

    /// A document was read. What is to be put in force now; nothing, while the labels aren't known, and where it is in
    /// force already.
    pub fn document(&mut self, bytes: &[u8], hash: &str, origin: Origin) -> Result<Option<Snapshot>, Problems> {
        self.unavailable = None;
        let judged = Valid::from_bytes(bytes);
        let document = judged.map(|valid| Document { valid: Arc::new(valid), hash: hash.to_owned(), origin });
        self.compile(hash, document, self.labels.clone())
    }

    /// The labels were read.
    pub fn labels(&mut self, labels: Labels) -> Result<Option<Snapshot>, Problems> {
        self.labels = Some(labels.clone());
        let Some(document) = self.document.clone() else { return Ok(None) };
        self.compile(&document.hash.clone(), Ok(document), Some(labels))
    }

    fn compile(
        &mut self,
        hash: &str,
        document: Result<Document, Problems>,
        labels: Option<Labels>,
    ) -> Result<Option<Snapshot>, Problems> {
        let compiled = document.and_then(|document| {
            let snapshot = match &labels {
                Some(labels) => {
                    let generation = self.generation + 1;
                    let Document { valid, hash, .. } = &document;
                    Some(Snapshot::new(valid, hash, generation, labels, &self.ports, &self.defaults)?)
                }
                None => None,
            };
            Ok((document, snapshot))
        });
        match compiled {
            Ok((document, snapshot)) => {
                if document.origin == Origin::Source {
                    self.refused = None;
                }
                self.document = Some(document.clone());
                Ok(snapshot.and_then(|snapshot| self.take(document, labels.unwrap_or_default(), snapshot)))
            }
            Err(problems) => {
                let since = SystemTime::now();
                self.refused = Some(Refused { hash: hash.to_owned(), problems: problems.clone(), since });
                Err(problems)
            }
        }
    }

    /// What is the same as before isn't put in force again.
    fn take(&mut self, document: Document, labels: Labels, snapshot: Snapshot) -> Option<Snapshot> {
        let Document { valid, hash, origin } = document;
        if let Some(in_force) = &mut self.in_force
            && in_force.hash == hash
            && in_force.labels == labels
        {
            in_force.origin = origin;
            return None;
        }
        self.generation = snapshot.generation;
        let (generation, since) = (snapshot.generation, SystemTime::now());
        self.in_force = Some(InForce { valid, hash, origin, labels, generation, since });
        Some(snapshot)
    }

    /// There is no document to read now, for this reason. What is in force stays.
    pub fn unavailable(&mut self, reason: String) {
        self.unavailable = Some(reason);
    }

    /// Whether a valid document has been read, be it in force or waiting for the labels.
    pub fn has_document(&self) -> bool {
        self.document.is_some()
    }

    pub fn in_force(&self) -> Option<&InForce> {
        self.in_force.as_ref()
    }

    pub fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }

    /// Why there is nothing to read, if so.
    pub fn missing(&self) -> Option<&str> {
        self.unavailable.as_deref()
    }

    /// Whether the workload's labels are still to come.
    pub fn waits_for_labels(&self) -> bool {
        self.labels.is_none()
    }

    /// Why nothing is in force; `None`: something is.
    pub fn not_ready(&self) -> Option<String> {
        if self.in_force.is_some() {
            return None;
        }
        Some(match (&self.refused, &self.unavailable) {
            (Some(refused), _) => format!("the document is refused (all of it on /config_dump): {}", refused.problems),
            (None, Some(reason)) => reason.clone(),
            (None, None) if self.document.is_some() => "the workload's labels haven't been read yet".into(),
            (None, None) => "no document has been read yet".into(),
        })
    }

    pub fn ports(&self) -> &[ContainerPort] {
        &self.ports
    }

    /// In the document in force.
    pub fn unknown_fields(&self) -> usize {
        self.in_force.as_ref().map_or(0, |in_force| in_force.valid.unknown().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_config::settings::AccessLogFormat;
    use std::time::Duration;

    const GOOD: &[u8] = br#"{"version": 1}"#;
    const OTHER: &[u8] = br#"{"version": 1, "namespace": "shop"}"#;
    const BAD: &[u8] = br#"{"version": 2, "services": [{"name": "", "addresses": [], "ports": []}]}"#;

    fn keeper(unlabelled: bool) -> Keeper {
        let defaults = Defaults { detect_timeout: Duration::ZERO, access_log: AccessLogFormat::None };
        Keeper::new(vec![], defaults, unlabelled)
    }

    fn labels(app: &str) -> Labels {
        [("app".to_owned(), app.to_owned())].into()
    }

    /// The generation that is to be put in force, if any.
    fn new(outcome: Result<Option<Snapshot>, Problems>) -> Option<u64> {
        outcome.unwrap().map(|snapshot| snapshot.generation)
    }

    #[test]
    fn a_good_document_is_put_in_force_once() {
        let mut keeper = keeper(true);
        assert_eq!(new(keeper.document(GOOD, "one", Origin::Source)), Some(1));
        assert_eq!(new(keeper.document(GOOD, "one", Origin::Source)), None);
        assert_eq!(new(keeper.document(OTHER, "two", Origin::Source)), Some(2));
        let in_force = keeper.in_force().unwrap();
        assert_eq!((in_force.hash.as_str(), in_force.generation), ("two", 2));
        assert_eq!(keeper.not_ready(), None);
    }

    #[test]
    fn a_bad_document_leaves_the_good_one_in_force_and_all_its_problems_are_kept() {
        let mut keeper = keeper(true);
        assert!(keeper.document(BAD, "bad", Origin::Source).is_err());
        assert!(keeper.in_force().is_none() && !keeper.has_document());
        assert!(keeper.not_ready().unwrap().contains("version: 2 is not a format"));
        assert_eq!(new(keeper.document(GOOD, "one", Origin::Source)), Some(1));
        assert!(keeper.refused().is_none(), "what came since is good");

        assert_eq!(keeper.document(BAD, "bad", Origin::Source).unwrap_err().0.len(), 2);
        assert_eq!(keeper.in_force().unwrap().hash, "one");
        let refused = keeper.refused().unwrap();
        assert_eq!((refused.hash.as_str(), refused.problems.0.len()), ("bad", 2));
        // back to what is in force: nothing to do, nothing to complain about
        assert_eq!(new(keeper.document(GOOD, "one", Origin::Source)), None);
        assert!(keeper.refused().is_none());
    }

    #[test]
    fn nothing_is_in_force_before_the_labels_are_known() {
        let mut keeper = keeper(false);
        assert!(keeper.waits_for_labels());
        assert_eq!(new(keeper.document(GOOD, "one", Origin::Source)), None);
        assert!(keeper.has_document() && keeper.in_force().is_none());
        assert_eq!(keeper.not_ready().unwrap(), "the workload's labels haven't been read yet");
        assert_eq!(new(keeper.labels(labels("web"))), Some(1));
        assert_eq!(new(keeper.labels(labels("web"))), None);
        assert_eq!(new(keeper.labels(labels("api"))), Some(2));
        assert_eq!(keeper.in_force().unwrap().labels, labels("api"));
    }

    #[test]
    fn labels_may_come_first() {
        let mut keeper = keeper(false);
        assert_eq!(new(keeper.labels(labels("web"))), None);
        assert_eq!(new(keeper.document(GOOD, "one", Origin::Source)), Some(1));
    }

    #[test]
    fn the_last_good_document_does_not_hide_what_is_wrong_with_the_new_one() {
        let mut keeper = keeper(true);
        assert!(keeper.document(BAD, "bad", Origin::Source).is_err());
        assert_eq!(new(keeper.document(GOOD, "one", Origin::LastGood)), Some(1));
        assert_eq!(keeper.refused().unwrap().hash, "bad");
        assert_eq!(keeper.in_force().unwrap().origin, Origin::LastGood);
        // the source has it again
        assert_eq!(new(keeper.document(GOOD, "one", Origin::Source)), None);
        assert_eq!(keeper.in_force().unwrap().origin, Origin::Source);
        assert!(keeper.refused().is_none());
    }

    #[test]
    fn a_document_that_is_gone_stays_in_force() {
        let mut keeper = keeper(true);
        assert_eq!(new(keeper.document(GOOD, "one", Origin::Source)), Some(1));
        keeper.unavailable("gone".into());
        assert_eq!((keeper.missing(), keeper.in_force().is_some()), (Some("gone"), true));
        assert_eq!(new(keeper.document(GOOD, "one", Origin::Source)), None);
        assert_eq!(keeper.missing(), None);
    }
}
