//! A MeshPolicy as it stands in the index: what was read of it, the same in the proxy's types, and the status that the
//! API shows.

use super::Key;
use crate::compile::Sections;
use crds::{MeshPolicyStatus, Problem, Reading, Target};
use jiff::Timestamp;
use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Policy {
    pub key: Key,
    pub reading: Reading,
    /// Each accepted by the very check that the proxy makes.
    pub sections: Sections,
    /// The reading's, and what that check refused.
    pub problems: Vec<Problem>,
    /// As the API shows it; `None` where there is none, or none that can be read.
    pub status: Option<MeshPolicyStatus>,
}

impl Policy {
    pub fn read(raw: &Value) -> Policy {
        let reading = crds::read(raw);
        let mut problems = reading.problems.clone();
        let sections = Sections::of(&reading, &mut problems);
        Policy {
            key: Key::new(reading.namespace.clone(), reading.name.clone()),
            status: status(raw),
            reading,
            sections,
            problems,
        }
    }

    /// Whether `raw` is this policy with the same spec: then only its status can be new. (The API server counts a new
    /// generation for every change of a spec.)
    pub fn is_same_spec(&self, raw: &Value) -> bool {
        let metadata = &raw["metadata"];
        let (uid, generation) = (metadata["uid"].as_str(), metadata["generation"].as_i64());
        !self.reading.uid.is_empty()
            && uid == Some(&self.reading.uid)
            && generation.is_some_and(|generation| generation > 0 && generation == self.reading.generation)
    }

    /// Every policy without a time counts as younger than all that have one.
    pub fn created(&self) -> Timestamp {
        self.reading.created.as_ref().map_or(Timestamp::MAX, |time| time.0)
    }

    pub fn dry_run(&self) -> bool {
        self.reading.mode == crds::Mode::DryRun
    }

    /// The Services that it targets, with the port where one is named.
    pub fn services(&self) -> impl Iterator<Item = (Key, Option<&str>)> {
        self.reading.targets.iter().filter_map(|target| match target {
            Target::Service { name, port } => Some((Key::new(&*self.key.namespace, name), port.as_deref())),
            Target::Namespace | Target::Pods(_) => None,
        })
    }

    /// Whether it says something to callers.
    pub fn is_for_callers(&self) -> bool {
        !self.sections.routes.is_empty() || self.sections.protocol.is_some()
    }
}

pub(super) fn status(raw: &Value) -> Option<MeshPolicyStatus> {
    serde_json::from_value(raw.get("status")?.clone()).ok()
}
