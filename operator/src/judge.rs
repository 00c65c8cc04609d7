//! What is to be said of a policy, from the index alone: whether it makes sense, whether what it points at exists, who
//! overrules it. `status` makes conditions of it, and adds what became of the documents.
//!
//! The same rules as in `compile`, told to a person: whatever `compile` leaves out silently has its sentence here, with
//! the field and the fix.

mod conflicts;
mod targets;
#[cfg(test)]
mod tests;

use crate::compile::{Unresolved, resolve};
use crate::index::{Index, Policy};
use crate::status::Reason;
use crds::{Conflict, ProblemKind};

/// The verdict on one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// `Service/reviews`, each once, in the order of `targetRefs`.
    pub targets: Vec<String>,
    pub accepted: Result<(), Refusal>,
    /// Sections that are fine and yet without effect, because the policy is a DryRun.
    pub not_evaluated: Vec<&'static str>,
    pub resolved: Result<(), Refusal>,
    pub conflicts: Vec<Conflict>,
    /// Something of it is in documents: in its namespace's own part, or in what all callers know.
    pub holds_for: HoldsFor,
}

/// Whose documents carry something of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldsFor {
    pub workloads: bool,
    pub callers: bool,
}

/// Why a condition is False.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub message: String,
}

/// The most of a message that is kept: an Event takes 1024 bytes, and nobody reads more.
const MESSAGE: usize = 1000;

pub fn judge(index: &Index, policy: &Policy) -> Judgement {
    let mut accepted: Vec<(Reason, String)> = Vec::new();
    for problem in &policy.problems {
        let reason = match problem.kind {
            ProblemKind::Invalid => Reason::Invalid,
            ProblemKind::UnknownField => Reason::UnknownField,
        };
        accepted.push((reason, problem.to_string()));
    }
    let mut holds_for = HoldsFor { workloads: policy.sections.fallback.is_some(), callers: false };
    for target in &policy.reading.targets {
        targets::judge(index, policy, target, &mut accepted, &mut holds_for);
    }
    let mut targets: Vec<String> = Vec::new();
    for target in policy.reading.targets.iter().map(ToString::to_string) {
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    Judgement {
        targets,
        accepted: refuse(accepted),
        not_evaluated: not_evaluated(policy),
        resolved: refuse(backends(index, policy)),
        conflicts: conflicts::conflicts(index, policy),
        holds_for,
    }
}

fn not_evaluated(policy: &Policy) -> Vec<&'static str> {
    let sections =
        [("protocol", policy.sections.protocol.is_some()), ("telemetry", policy.sections.access_log.is_some())];
    sections.into_iter().filter(|(_, there)| *there && policy.dry_run()).map(|(name, _)| name).collect()
}

/// The backends that aren't there.
fn backends(index: &Index, policy: &Policy) -> Vec<(Reason, String)> {
    let mut found = Vec::new();
    for routed in &policy.sections.routes {
        for (i, backend) in routed.backends.iter().enumerate() {
            let Err(unresolved) = resolve(index, backend) else { continue };
            let (service, port) = (&backend.service, backend.port);
            let (reason, what) = match unresolved {
                Unresolved::NotFound => (
                    Reason::BackendNotFound,
                    format!("Service {service} does not exist; create it, or correct the name"),
                ),
                Unresolved::PortNotFound(ports) => (
                    Reason::PortNotFound,
                    format!("Service {service} has no TCP port {port}; {}", take_one_of("port", &ports)),
                ),
                Unresolved::Headless => (
                    Reason::UnsupportedService,
                    format!(
                        "Service {service} is headless, so it has no address to send requests to; name one with a cluster IP"
                    ),
                ),
                Unresolved::ExternalName => (
                    Reason::UnsupportedService,
                    format!("Service {service} is of type ExternalName; name one with a cluster IP"),
                ),
            };
            let path = format!("spec.routes[{}].backendRefs[{i}]", routed.route.name);
            found.push((reason, format!("{path}: {what}. Its share of requests is answered with 500")));
        }
    }
    found
}

/// All messages in one; the reason of the first, since what a person reads first should be what the reason names.
fn refuse(mut found: Vec<(Reason, String)>) -> Result<(), Refusal> {
    // a field that nobody knows outweighs the rest, as in the reading
    found.sort_by_key(|(reason, _)| *reason != Reason::UnknownField);
    let Some((reason, _)) = found.first() else { return Ok(()) };
    let reason = *reason;
    let mut message = String::new();
    let count = found.len();
    for (i, (_, text)) in found.iter().enumerate() {
        if !message.is_empty() && message.len() + text.len() > MESSAGE {
            message.push_str(&format!("; and {} more", count - i));
            break;
        }
        message.push_str(if i == 0 { "" } else { "; " });
        message.push_str(text);
    }
    Err(Refusal { reason, message })
}

fn take_one_of<T: ToString>(what: &str, there: &[T]) -> String {
    let list: Vec<String> = there.iter().map(ToString::to_string).collect();
    match list.as_slice() {
        [] => format!("it has no TCP {what} at all"),
        [one] => format!("its only TCP {what} is {one}"),
        many => format!("its TCP {what}s are {}", many.join(", ")),
    }
}
