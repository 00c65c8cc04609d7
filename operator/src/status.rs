//! `status` of a MeshPolicy: what `judge` found, and what became of the documents, as conditions.
//!
//! A condition is True only with an observed cause: `Programmed` waits until the API server has taken the documents,
//! `Enforced` stays Unknown until proxies report. What a policy's status was is looked at for one thing only: a condition
//! that keeps its status keeps its `lastTransitionTime`.

mod programmed;
#[cfg(test)]
mod tests;

pub use programmed::{Documents, Outcome};

use crate::index::{Index, Policy};
use crate::judge::Judgement;
use crds::{MeshPolicyStatus, Summary, TargetStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// As many targets as a status takes.
const MOST_TARGETS: usize = 16;

/// Why a condition is what it is; one word for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Accepted=True.
    Accepted,
    /// A value that can't be meant.
    Invalid,
    /// A field that this version doesn't know.
    UnknownField,
    /// A target, or the port of one, isn't there.
    TargetNotFound,
    /// A Service that can't carry what is asked of it: headless, ExternalName, without a selector or TCP ports.
    UnsupportedService,
    /// ResolvedRefs=True.
    ResolvedRefs,
    BackendNotFound,
    PortNotFound,
    /// Programmed=True: the API server has taken every document that holds the policy.
    Programmed,
    /// A document would be larger than a ConfigMap can be.
    TooLarge,
    /// The API server didn't take a document.
    WriteFailed,
    /// The proxy's own check refuses a document: a fault of ours.
    InvalidDocument,
    /// Nothing of the policy holds for anything.
    NothingToProgram,
    /// There are no proxies that the policy could be for.
    NoProxies,
    /// Enforced=Unknown: proxies don't report yet.
    NoReports,
}

impl Reason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Accepted => "Accepted",
            Reason::Invalid => "Invalid",
            Reason::UnknownField => "UnknownField",
            Reason::TargetNotFound => "TargetNotFound",
            Reason::UnsupportedService => "UnsupportedService",
            Reason::ResolvedRefs => "ResolvedRefs",
            Reason::BackendNotFound => "BackendNotFound",
            Reason::PortNotFound => "PortNotFound",
            Reason::Programmed => "Programmed",
            Reason::TooLarge => "TooLarge",
            Reason::WriteFailed => "WriteFailed",
            Reason::InvalidDocument => "InvalidDocument",
            Reason::NothingToProgram => "NothingToProgram",
            Reason::NoProxies => "NoProxies",
            Reason::NoReports => "NoReports",
        }
    }
}

impl Reason {
    /// The word for the Event of a policy, where the reason is worth a warning: not where something may come by itself.
    pub fn warned_of(word: &str) -> Option<&'static str> {
        let all = [
            Reason::Invalid,
            Reason::UnknownField,
            Reason::TargetNotFound,
            Reason::UnsupportedService,
            Reason::TooLarge,
            Reason::WriteFailed,
            Reason::InvalidDocument,
        ];
        all.into_iter().map(Reason::as_str).find(|reason| *reason == word)
    }
}

/// The conditions of a policy, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    Accepted,
    ResolvedRefs,
    Programmed,
    Enforced,
}

impl ConditionType {
    pub const ALL: [ConditionType; 4] =
        [ConditionType::Accepted, ConditionType::ResolvedRefs, ConditionType::Programmed, ConditionType::Enforced];

    pub const fn as_str(self) -> &'static str {
        match self {
            ConditionType::Accepted => "Accepted",
            ConditionType::ResolvedRefs => "ResolvedRefs",
            ConditionType::Programmed => "Programmed",
            ConditionType::Enforced => "Enforced",
        }
    }
}

/// One condition before it has a time.
struct Finding {
    kind: ConditionType,
    status: &'static str,
    reason: Reason,
    message: String,
}

/// The status that a policy should have. `None`: a document that it is in has not been written yet, so wait.
pub fn status(
    index: &Index,
    policy: &Policy,
    judgement: &Judgement,
    documents: &Documents,
    now: Timestamp,
) -> Option<MeshPolicyStatus> {
    let programmed = programmed::finding(index, policy, judgement, documents)?;
    let accepted = match judgement.not_evaluated.join(" and ") {
        none if none.is_empty() => "the policy makes sense".to_owned(),
        sections => {
            format!("the policy makes sense; in mode DryRun its {sections} can't be evaluated, and does nothing")
        }
    };
    let findings = [
        of_result(ConditionType::Accepted, &judgement.accepted, Reason::Accepted, &accepted),
        of_result(ConditionType::ResolvedRefs, &judgement.resolved, Reason::ResolvedRefs, "all backends are there"),
        programmed,
        Finding {
            kind: ConditionType::Enforced,
            status: "Unknown",
            reason: Reason::NoReports,
            message: "proxies do not report yet which configuration they run".into(),
        },
    ];
    let hash =
        documents.hash(&policy.key.namespace).filter(|_| judgement.holds_for.workloads || judgement.holds_for.callers);
    let generation = Some(policy.reading.generation).filter(|generation| *generation > 0);
    Some(MeshPolicyStatus {
        observed_generation: generation,
        summary: Some(Summary {
            target: summary(&judgement.targets),
            proxies: String::new(),
            hash: hash.unwrap_or_default().to_owned(),
        }),
        conditions: findings.into_iter().map(|finding| condition(finding, policy, generation, now)).collect(),
        targets: judgement
            .targets
            .iter()
            .take(MOST_TARGETS)
            .map(|target| TargetStatus {
                r#ref: target.clone(),
                proxies: None,
                enforcing: None,
                refusing: None,
                hash: hash.map(str::to_owned),
            })
            .collect(),
        conflicts: judgement.conflicts.clone(),
    })
}

/// Whether two statuses say the same. (Server-side apply may give lists with keys in another order.)
pub fn is_same(a: &MeshPolicyStatus, b: &MeshPolicyStatus) -> bool {
    sorted(a) == sorted(b)
}

/// Whether only the hashes of documents differ: they change with every Service of the cluster.
pub fn differs_by_hash_alone(a: &MeshPolicyStatus, b: &MeshPolicyStatus) -> bool {
    let without = |status: &MeshPolicyStatus| {
        let mut status = sorted(status);
        status.summary.iter_mut().for_each(|summary| summary.hash.clear());
        status.targets.iter_mut().for_each(|target| target.hash = None);
        status
    };
    without(a) == without(b)
}

fn sorted(status: &MeshPolicyStatus) -> MeshPolicyStatus {
    let mut status = status.clone();
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    status.targets.sort_by(|a, b| a.r#ref.cmp(&b.r#ref));
    status
}

/// `Service/reviews +1`.
fn summary(targets: &[String]) -> String {
    match targets {
        [] => String::new(),
        // as long as a status takes: a selector can be longer
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" +{}", rest.len()) };
            let room = 512 - more.len();
            let first: String = if first.chars().count() <= room {
                first.clone()
            } else {
                first.chars().take(room - 1).chain(['…']).collect()
            };
            first + &more
        }
    }
}

fn of_result(kind: ConditionType, result: &Result<(), crate::judge::Refusal>, good: Reason, message: &str) -> Finding {
    match result {
        Ok(()) => Finding { kind, status: "True", reason: good, message: message.to_owned() },
        Err(refusal) => Finding { kind, status: "False", reason: refusal.reason, message: refusal.message.clone() },
    }
}

fn condition(finding: Finding, policy: &Policy, generation: Option<i64>, now: Timestamp) -> Condition {
    let shown = policy.status.iter().flat_map(|status| &status.conditions);
    let kept = shown
        .filter(|shown| shown.type_ == finding.kind.as_str() && shown.status == finding.status)
        .map(|shown| shown.last_transition_time.clone())
        .next();
    // what is shown has seconds only, and must compare equal when it is read again
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: finding.kind.as_str().to_owned(),
        status: finding.status.to_owned(),
        reason: finding.reason.as_str().to_owned(),
        message: finding.message,
        observed_generation: generation,
        last_transition_time: kept.unwrap_or(Time(now)),
    }
}
