//! `Programmed`: whether the documents that hold a policy stand in the API.
//!
//! What workloads are told stands in the document of the policy's namespace; what callers are told, in every document.

use super::{ConditionType, Finding, Reason};
use crate::index::{Index, Policy};
use crate::judge::Judgement;
use mesh_config::names;
use std::collections::BTreeMap;

/// What became of a namespace's document.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The API server has it, with this hash.
    Written { hash: String },
    /// It wasn't written; what stood there still does.
    TooLarge { kib: usize },
    /// The API server didn't take it; tried again.
    Failed { message: String },
    /// The proxy's own check refuses it.
    Refused { message: String },
}

/// What became of every meshed namespace's document. One that isn't here has not been tried yet.
#[derive(Clone, Debug, Default)]
pub struct Documents(pub BTreeMap<String, Outcome>);

impl Documents {
    /// The hash of the document that stands in a namespace.
    pub fn hash(&self, namespace: &str) -> Option<&str> {
        match self.0.get(namespace)? {
            Outcome::Written { hash } => Some(hash),
            Outcome::TooLarge { .. } | Outcome::Failed { .. } | Outcome::Refused { .. } => None,
        }
    }
}

pub(super) fn finding(index: &Index, policy: &Policy, judgement: &Judgement, documents: &Documents) -> Option<Finding> {
    let holds_for = judgement.holds_for;
    let answer =
        |status, reason, message: String| Some(Finding { kind: ConditionType::Programmed, status, reason, message });
    if !holds_for.workloads && !holds_for.callers {
        let message = match &judgement.accepted {
            Ok(()) => {
                "nothing of the policy holds for anything: in mode DryRun only authorization and routes are evaluated"
            }
            Err(_) => "nothing of the policy holds for anything; see condition Accepted",
        };
        return answer("False", Reason::NothingToProgram, message.into());
    }
    let own = &policy.key.namespace;
    let mut relevant: Vec<&str> = Vec::new();
    if holds_for.callers {
        relevant.extend(index.meshed().filter(|namespace| !index.is_ending(namespace)));
    } else if index.is_meshed(own) {
        relevant.push(own);
    }
    if relevant.is_empty() {
        return answer("False", Reason::NoProxies, no_proxies(index, own, holds_for.callers));
    }
    let mut bad: Option<(Reason, String)> = None;
    for namespace in relevant {
        let found = match documents.0.get(namespace)? {
            Outcome::Written { .. } => continue,
            Outcome::TooLarge { kib } => (
                Reason::TooLarge,
                format!(
                    "the document of namespace {namespace} has {kib} KiB, and at most {} KiB are written: proxies there keep \
                     what they have; take routes or rules away",
                    names::DOCUMENT_MAX_BYTES / 1024
                ),
            ),
            Outcome::Failed { message } => (Reason::WriteFailed, format!("{message}; it is tried again")),
            Outcome::Refused { message } => (
                Reason::InvalidDocument,
                format!(
                    "the document of namespace {namespace} is not valid, which is a fault of the operator: {message}"
                ),
            ),
        };
        // the first by name speaks for the others
        bad = bad.or(Some(found));
    }
    match bad {
        Some((reason, message)) => answer("False", reason, message),
        None => answer("True", Reason::Programmed, "it is in the proxies' configuration".into()),
    }
}

fn no_proxies(index: &Index, own: &str, callers: bool) -> String {
    let label = format!("{}=enabled", names::LABEL_INJECT);
    if callers {
        format!("no namespace has proxies; label one {label} and restart its workloads")
    } else if index.is_excluded(own) {
        format!(
            "namespace {own} is excluded from the mesh, as system namespaces are, and those that excludedNamespaces of \
             mesh.yaml names; move the policy"
        )
    } else {
        format!("namespace {own} has no proxies; label it {label} and restart its workloads")
    }
}
