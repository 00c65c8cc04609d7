//! What to do about one namespace's ConfigMap: a table, and what of a ConfigMap it needs to know.
//!
//! When in doubt nothing is done: a document that stays too long costs a few bytes, one that is taken away too early
//! keeps Pods from starting.

use k8s_openapi::api::core::v1::ConfigMap;
use mesh_config::names;

/// Who wrote it, by Kubernetes' recommended label.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label's value.
pub const MANAGED_BY: &str = "outrigger";
/// The hash of the document, for people: `kubectl get cm -o yaml` shows it above the document.
pub const ANNOTATION_HASH: &str = "outrigger.dev/hash";

/// A ConfigMap `outrigger-proxy-config` as it stands in the API. Its document is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Of the document that it holds; empty where it holds none.
    pub hash: String,
    /// Whether our label is on it; one without is never deleted.
    pub ours: bool,
    /// Whether the annotation tells the truth.
    pub annotated: bool,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl Seen {
    pub fn of(map: &ConfigMap) -> Seen {
        let document = map.data.as_ref().and_then(|data| data.get(names::KEY_PROXY_V1));
        let hash = document.map(|text| mesh_config::hash(text.as_bytes())).unwrap_or_default();
        let metadata = &map.metadata;
        let label = metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_MANAGED_BY));
        let annotation = metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION_HASH));
        Seen {
            ours: label.is_some_and(|value| value == MANAGED_BY),
            annotated: annotation == Some(&hash),
            hash,
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
        }
    }

    /// Whether it is just what we would write.
    pub fn is(&self, hash: &str) -> bool {
        self.hash == hash && self.ours && self.annotated
    }
}

/// What is known of a namespace.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Being deleted, or not there.
    pub ending: bool,
    pub meshed: bool,
    /// Pods with a proxy are there.
    pub proxies: bool,
    /// The hash of the document that should stand there; `None`: there is none that can be written.
    pub wanted: Option<&'a str>,
    pub seen: Option<&'a Seen>,
    /// No watch is in the middle of a list, so what isn't known isn't there.
    pub certain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    Write,
    Delete,
}

pub fn step(facts: Facts<'_>) -> Step {
    match facts {
        Facts { ending: true, .. } => Step::Nothing,
        Facts { meshed: true, wanted: Some(hash), seen, .. } => {
            if seen.is_some_and(|seen| seen.is(hash)) {
                Step::Nothing
            } else {
                Step::Write
            }
        }
        Facts { meshed: false, proxies: false, certain: true, seen: Some(seen), .. } if seen.ours => Step::Delete,
        _ => Step::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(hash: &str, ours: bool, annotated: bool) -> Seen {
        Seen { hash: hash.into(), ours, annotated, uid: None, resource_version: None }
    }

    #[test]
    fn written_where_it_differs_and_deleted_only_where_nobody_needs_it() {
        let good = seen("h", true, true);
        let meshed =
            Facts { ending: false, meshed: true, proxies: false, wanted: Some("h"), seen: None, certain: true };
        let left = Facts { meshed: false, wanted: None, seen: Some(&good), ..meshed };
        for (what, facts, want) in [
            ("new", meshed, Step::Write),
            ("new, while a list comes in", Facts { certain: false, ..meshed }, Step::Write),
            ("unchanged", Facts { seen: Some(&good), ..meshed }, Step::Nothing),
            ("edited", Facts { seen: Some(&seen("x", true, true)), ..meshed }, Step::Write),
            ("label taken away", Facts { seen: Some(&seen("h", false, true)), ..meshed }, Step::Write),
            ("annotation edited", Facts { seen: Some(&seen("h", true, false)), ..meshed }, Step::Write),
            ("can't be written", Facts { wanted: None, seen: Some(&good), ..meshed }, Step::Nothing),
            ("namespace ends", Facts { ending: true, ..meshed }, Step::Nothing),
            ("left", left, Step::Delete),
            ("left, nothing there", Facts { seen: None, ..left }, Step::Nothing),
            ("left, but a proxy runs (excluded namespace)", Facts { proxies: true, ..left }, Step::Nothing),
            ("left, while a list comes in", Facts { certain: false, ..left }, Step::Nothing),
            ("left, somebody else's", Facts { seen: Some(&seen("h", false, true)), ..left }, Step::Nothing),
            ("left, namespace ends", Facts { ending: true, ..left }, Step::Nothing),
        ] {
            assert_eq!(step(facts), want, "{what}");
        }
    }

    #[test]
    fn a_config_map_is_known_by_its_documents_hash() {
        let object = serde_json::json!({
            "metadata": {"labels": {LABEL_MANAGED_BY: MANAGED_BY}, "annotations": {ANNOTATION_HASH: mesh_config::hash(b"{}")}},
            "data": {"proxy.v1.json": "{}"},
        });
        let map: ConfigMap = serde_json::from_value(object).unwrap();
        assert_eq!(Seen::of(&map), seen(&mesh_config::hash(b"{}"), true, true));
        assert_eq!(Seen::of(&ConfigMap::default()), seen("", false, false));
    }
}
