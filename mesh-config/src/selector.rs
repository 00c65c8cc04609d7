//! Which Pods something is about: all of these labels. Empty: every Pod of the namespace.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A Pod's labels.
pub type Labels = BTreeMap<String, String>;

/// Labels that a Pod must carry, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: Labels,
}

impl Selector {
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Selector {
    fn from(labels: [(&str, &str); N]) -> Self {
        Selector { match_labels: labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    }
}
