//! All that the operator knows of the cluster: a plain struct, fed object by object, asked by `compile` and `judge`.
//!
//! ```text
//! watch -> apply_*/delete_* -> Index -> dirty() -> compile, judge -> publish
//! ```
//!
//! Deliberately absent: a client, async, time. The same objects give the same answers, in whatever order they came.

mod key;
mod policy;
mod service;
#[cfg(test)]
mod tests;

pub use key::Key;
pub use policy::Policy;
pub use service::{Reached, Service, ServicePort};

use crds::MeshPolicyStatus;
use k8s_openapi::api::core::v1 as core;
use mesh_config::names;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Namespaces that are never meshed, beside our own and those that `mesh.yaml` names.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

#[derive(Clone, Debug)]
pub struct Index {
    system_namespace: String,
    excluded: BTreeSet<String>,
    namespaces: BTreeMap<String, Namespace>,
    services: BTreeMap<Key, Service>,
    /// Those with the label of injection, by namespace.
    pods: BTreeMap<String, BTreeSet<String>>,
    policies: BTreeMap<Key, Policy>,
    dirty: Dirty,
}

#[derive(Clone, Debug, PartialEq)]
struct Namespace {
    enabled: bool,
    terminating: bool,
}

/// What may compile to something else than before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dirty {
    /// The list of excluded namespaces changed.
    pub everything: bool,
    /// What callers know of Services; it stands in every namespace's document.
    pub callers: bool,
    /// Namespaces whose own part changed.
    pub namespaces: BTreeSet<String>,
    /// A policy came, changed or went.
    pub policies: bool,
}

impl Dirty {
    pub fn is_clean(&self) -> bool {
        *self == Dirty::default()
    }
}

impl Index {
    /// Knows nothing yet.
    pub fn new(system_namespace: impl Into<String>) -> Self {
        Index {
            system_namespace: system_namespace.into(),
            excluded: BTreeSet::new(),
            namespaces: BTreeMap::new(),
            services: BTreeMap::new(),
            pods: BTreeMap::new(),
            policies: BTreeMap::new(),
            dirty: Dirty::default(),
        }
    }

    /// What changed since this was last asked.
    pub fn take_dirty(&mut self) -> Dirty {
        std::mem::take(&mut self.dirty)
    }

    /// `excludedNamespaces` of `mesh.yaml`.
    pub fn set_excluded(&mut self, namespaces: impl IntoIterator<Item = String>) {
        let excluded = namespaces.into_iter().collect();
        if self.excluded != excluded {
            self.excluded = excluded;
            self.dirty.everything = true;
        }
    }

    pub fn apply_namespace(&mut self, name: &str, labels: &BTreeMap<String, String>, terminating: bool) {
        let enabled = labels.get(names::LABEL_INJECT).is_some_and(|value| value == "enabled");
        let namespace = Namespace { enabled, terminating };
        if self.namespaces.get(name) != Some(&namespace) {
            self.namespaces.insert(name.to_owned(), namespace);
            self.dirty.namespaces.insert(name.to_owned());
        }
    }

    pub fn delete_namespace(&mut self, name: &str) {
        if self.namespaces.remove(name).is_some() {
            self.dirty.namespaces.insert(name.to_owned());
        }
    }

    pub fn apply_service(&mut self, object: &core::Service) {
        let Some((key, service)) = Service::read(object) else { return };
        if self.services.get(&key) != Some(&service) {
            self.touch_service(&key);
            self.services.insert(key, service);
        }
    }

    pub fn delete_service(&mut self, key: &Key) {
        if self.services.remove(key).is_some() {
            self.touch_service(key);
        }
    }

    fn touch_service(&mut self, key: &Key) {
        self.dirty.callers = true;
        self.dirty.namespaces.insert(key.namespace.clone());
    }

    /// A Pod that carries the label `outrigger.dev/proxy`.
    pub fn apply_pod(&mut self, key: &Key) {
        let pods = self.pods.entry(key.namespace.clone()).or_default();
        if pods.is_empty() {
            self.dirty.namespaces.insert(key.namespace.clone());
        }
        pods.insert(key.name.clone());
    }

    pub fn delete_pod(&mut self, key: &Key) {
        let Some(pods) = self.pods.get_mut(&key.namespace) else { return };
        pods.remove(&key.name);
        if pods.is_empty() {
            self.pods.remove(&key.namespace);
            self.dirty.namespaces.insert(key.namespace.clone());
        }
    }

    /// A MeshPolicy as the API server sent it, in whatever shape.
    pub fn apply_policy(&mut self, raw: &Value) {
        let metadata = |field: &str| raw["metadata"][field].as_str().unwrap_or_default();
        let key = Key::new(metadata("namespace"), metadata("name"));
        if let Some(known) = self.policies.get_mut(&key)
            && known.is_same_spec(raw)
        {
            known.status = policy::status(raw);
            return;
        }
        let policy = Policy::read(raw);
        let known = self.policies.get(&key);
        if known.is_some_and(|known| known.reading == policy.reading) {
            self.policies.insert(key, policy);
            return;
        }
        let for_callers = policy.is_for_callers() || known.is_some_and(Policy::is_for_callers);
        self.touch_policy(&key, for_callers);
        self.policies.insert(key, policy);
    }

    /// What was just written, before the watch says so.
    pub fn set_policy_status(&mut self, key: &Key, uid: &str, status: MeshPolicyStatus) {
        if let Some(policy) = self.policies.get_mut(key).filter(|policy| policy.reading.uid == uid) {
            policy.status = Some(status);
        }
    }

    pub fn delete_policy(&mut self, key: &Key) {
        if let Some(policy) = self.policies.remove(key) {
            self.touch_policy(key, policy.is_for_callers());
        }
    }

    fn touch_policy(&mut self, key: &Key, for_callers: bool) {
        self.dirty.policies = true;
        self.dirty.callers |= for_callers;
        self.dirty.namespaces.insert(key.namespace.clone());
    }

    /// The namespaces that get a document, by name.
    pub fn meshed(&self) -> impl Iterator<Item = &str> {
        self.namespaces.keys().map(String::as_str).filter(|name| self.is_meshed(name))
    }

    /// Not excluded, and labelled `enabled` or holding a Pod with a proxy.
    pub fn is_meshed(&self, namespace: &str) -> bool {
        !self.is_excluded(namespace)
            && self.namespaces.get(namespace).is_some_and(|known| known.enabled || self.has_proxies(namespace))
    }

    pub fn is_excluded(&self, namespace: &str) -> bool {
        SYSTEM_NAMESPACES.contains(&namespace)
            || namespace == self.system_namespace
            || self.excluded.contains(namespace)
    }

    /// Whether a Pod with a proxy is there.
    pub fn has_proxies(&self, namespace: &str) -> bool {
        self.pods.get(namespace).is_some_and(|pods| !pods.is_empty())
    }

    /// Being deleted, or gone already: nothing can be written there.
    pub fn is_ending(&self, namespace: &str) -> bool {
        self.namespaces.get(namespace).is_none_or(|known| known.terminating)
    }

    /// Every namespace there is, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.keys().map(String::as_str)
    }

    pub fn service(&self, key: &Key) -> Option<&Service> {
        self.services.get(key)
    }

    /// By namespace and name.
    pub fn services(&self) -> impl Iterator<Item = (&Key, &Service)> {
        self.services.iter()
    }

    /// Those of one namespace, by name.
    pub fn services_in(&self, namespace: &str) -> impl Iterator<Item = (&Key, &Service)> {
        self.services.range(Key::new(namespace, "")..).take_while(move |(key, _)| key.namespace == namespace)
    }

    pub fn policy(&self, key: &Key) -> Option<&Policy> {
        self.policies.get(key)
    }

    /// By namespace and name.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values()
    }

    /// Those of one namespace, by name.
    pub fn policies_in(&self, namespace: &str) -> impl Iterator<Item = &Policy> {
        let from = self.policies.range(Key::new(namespace, "")..);
        from.map(|(_, policy)| policy).take_while(move |policy| policy.key.namespace == namespace)
    }
}
