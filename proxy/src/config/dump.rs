//! `/config_dump`: what is in force, what was refused and why, and what it comes to for this workload.

use super::keeper::{InForce, Keeper, Origin};
use mesh_config::pod::Identity;
use mesh_config::proxy::effective::{Authorizations, PortPolicy, Workload};
use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// The page.
pub fn page(keeper: &Keeper, identity: &Identity) -> Value {
    json!({
        "pod": {"namespace": identity.namespace, "name": identity.name, "serviceAccount": identity.service_account},
        "waitsFor": keeper.waits_for_labels().then_some("the workload's labels"),
        "unavailable": keeper.missing(),
        "refused": keeper.refused().map(|refused| json!({
            "hash": refused.hash,
            "since": seconds(refused.since),
            "problems": refused.problems,
        })),
        "inForce": keeper.in_force().map(|in_force| in_force_page(keeper, in_force)),
    })
}

fn in_force_page(keeper: &Keeper, in_force: &InForce) -> Value {
    let InForce { valid, hash, origin, labels, generation, since } = in_force;
    let workload = Workload::new(valid, labels, keeper.ports());
    let ports: Map<String, Value> =
        workload.ports.iter().map(|(number, policy)| (number.to_string(), policy_page(policy))).collect();
    json!({
        "hash": hash,
        "generation": generation,
        "since": seconds(*since),
        "origin": match origin {
            Origin::Source => "source",
            Origin::LastGood => "lastGood",
        },
        "labels": labels,
        "unknownFields": valid.unknown(),
        "workload": {
            "ports": ports,
            "otherPorts": policy_page(&workload.others),
            "outboundAccessLog": workload.outbound_access_log,
        },
        "document": valid.document(),
    })
}

fn policy_page(policy: &PortPolicy) -> Value {
    json!({
        "protocol": policy.protocol,
        "detectTimeout": policy.detect_timeout,
        "accessLog": policy.access_log,
        "authorization": authorization_page(&policy.authorization),
        "dryRun": policy.dry_run.as_ref().map(authorization_page),
    })
}

fn authorization_page(authorizations: &Authorizations) -> Value {
    let rules: Vec<Value> =
        authorizations.rules.iter().map(|(source, rule)| json!({"source": source, "rule": rule})).collect();
    json!({"closedBy": authorizations.closed, "default": authorizations.default(), "rules": rules})
}

/// Unix time.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
