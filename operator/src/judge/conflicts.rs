//! Which fields of a policy another one overrules, or it another's.
//!
//! A conflict is where two enforced policies about the same thing set one field differently, and only priority, age or
//! name decide. That a policy for a Service overrules one for its namespace is inheritance, wanted, and not listed;
//! routes are, also between a Service and one of its ports, because there the loser's route vanishes whole.

use crate::compile::Rank;
use crate::index::{Index, Policy};
use crds::{Conflict, Target};
use mesh_config::proxy::Verdict;

/// As many as a status takes.
const MOST: usize = 64;

pub(super) fn conflicts(index: &Index, policy: &Policy) -> Vec<Conflict> {
    let mut found: Vec<Conflict> = Vec::new();
    for other in index.policies_in(&policy.key.namespace) {
        if other.key == policy.key || other.dry_run() || policy.dry_run() {
            continue;
        }
        for field in fields(policy, other) {
            let conflict = Conflict {
                field: field.name,
                with: other.key.to_string(),
                winner: if field.wins { &policy.key } else { &other.key }.to_string(),
            };
            if !found.contains(&conflict) {
                found.push(conflict);
            }
        }
    }
    found.sort_by(|a, b| (&a.field, &a.with, &a.winner).cmp(&(&b.field, &b.with, &b.winner)));
    found.truncate(MOST);
    found
}

struct Field {
    name: String,
    /// Whether the policy at hand is the winner.
    wins: bool,
}

/// Whether two targets are about the same thing, as far as targets can tell.
#[derive(PartialEq)]
enum Meet {
    No,
    /// Both about the same workloads, and equally specific.
    Equally,
    /// A Service and one of its ports.
    ServiceAndPort,
}

fn fields(policy: &Policy, other: &Policy) -> Vec<Field> {
    let mut fields = Vec::new();
    for ours in &policy.reading.targets {
        for theirs in &other.reading.targets {
            let meet = meet(ours, theirs);
            if meet == Meet::No {
                continue;
            }
            let wins = Rank::of(policy, ours.specificity()) > Rank::of(other, theirs.specificity());
            let mut add = |name: String| fields.push(Field { name, wins });
            if matches!(ours, Target::Service { .. }) {
                routes(policy, other, &mut add);
            }
            if meet == Meet::Equally {
                scalars(policy, other, &mut add);
                if let Some(wins) = default(policy, other) {
                    fields.push(Field { name: "authorization.default".into(), wins });
                }
            }
        }
    }
    fields
}

fn meet(ours: &Target, theirs: &Target) -> Meet {
    match (ours, theirs) {
        (Target::Namespace, Target::Namespace) => Meet::Equally,
        (Target::Service { name, port }, Target::Service { name: their_name, port: their_port }) => {
            match (name == their_name, port, their_port) {
                (true, Some(_), None) | (true, None, Some(_)) => Meet::ServiceAndPort,
                (true, port, their_port) if port == their_port => Meet::Equally,
                _ => Meet::No,
            }
        }
        // labels that differ may still be on one Pod; only where one asks for all that the other asks for it is certain
        (Target::Pods(ours), Target::Pods(theirs)) => {
            let within = |a: &std::collections::BTreeMap<_, _>, b: &std::collections::BTreeMap<_, _>| {
                a.iter().all(|(key, value)| b.get(key) == Some(value))
            };
            if within(ours, theirs) || within(theirs, ours) { Meet::Equally } else { Meet::No }
        }
        _ => Meet::No,
    }
}

fn routes(policy: &Policy, other: &Policy, add: &mut impl FnMut(String)) {
    for ours in &policy.sections.routes {
        let theirs = other.sections.routes.iter().find(|theirs| theirs.route.name == ours.route.name);
        if theirs.is_some_and(|theirs| theirs.route != ours.route) {
            add(format!("routes[{}]", ours.route.name));
        }
    }
}

fn scalars(policy: &Policy, other: &Policy, add: &mut impl FnMut(String)) {
    if let (Some(ours), Some(theirs)) = (&policy.sections.protocol, &other.sections.protocol) {
        if differ(ours.detect_timeout.as_ref(), theirs.detect_timeout.as_ref()) {
            add("protocol.detectTimeout".into());
        }
        for entry in &ours.ports {
            let their_entry = theirs.ports.iter().find(|their_entry| their_entry.port == entry.port);
            if their_entry.is_some_and(|their_entry| their_entry.protocol != entry.protocol) {
                add(format!("protocol.ports[{}]", entry.port));
            }
        }
    }
    if let (Some(ours), Some(theirs)) = (&policy.sections.access_log, &other.sections.access_log) {
        if differ(ours.format.as_ref(), theirs.format.as_ref()) {
            add("telemetry.accessLog.format".into());
        }
        if differ(ours.filter.as_ref(), theirs.filter.as_ref()) {
            add("telemetry.accessLog.filter".into());
        }
    }
}

fn differ<T: PartialEq>(ours: Option<&T>, theirs: Option<&T>) -> bool {
    ours.is_some() && theirs.is_some() && ours != theirs
}

/// The strictest default wins, whoever set it.
fn default(policy: &Policy, other: &Policy) -> Option<bool> {
    let default = |policy: &Policy| policy.sections.authorization.as_ref()?.default;
    let (ours, theirs) = (default(policy)?, default(other)?);
    (ours != theirs).then_some(ours == Verdict::Deny)
}
