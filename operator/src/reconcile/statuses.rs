//! One policy's status: judge, compare with what the API shows, write.
//!
//! What differs by documents' hashes alone waits: these change with every Service of the cluster, and a thousand
//! policies would be written for each.

use super::{About, Job, Reconciler, Told};
use crate::index::{Key, Policy};
use crate::judge::judge;
use crate::metrics::Written;
use crate::publish::WriteError;
use crate::status::{ConditionType, Reason, differs_by_hash_alone, is_same, status};
use crds::MeshPolicyStatus;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// How long hashes may be old.
const HASH_PAUSE: Duration = Duration::from_secs(5);

impl Reconciler {
    pub(super) fn status(&mut self, key: Key, now: Instant, clock: Timestamp) -> Option<Job> {
        let wanted = self.index.policy(&key).and_then(|policy| {
            let judgement = judge(&self.index, policy);
            let wanted = status(&self.index, policy, &judgement, &self.outcomes, clock)?;
            let shown = policy.status.as_ref();
            if shown.is_some_and(|shown| is_same(shown, &wanted)) {
                return None;
            }
            let hash_alone = shown.is_some_and(|shown| differs_by_hash_alone(shown, &wanted));
            // decided now: when the write has ended, the watch may have brought it back already
            let told = told(policy, &wanted);
            Some((policy.reading.uid.clone(), wanted, told, hash_alone))
        });
        match wanted {
            Some((.., true)) if self.hash_alone.get(&key).is_none_or(|at| *at > now) => {
                let at = *self.hash_alone.entry(key.clone()).or_insert(now + HASH_PAUSE);
                self.statuses.succeeded(&key);
                self.statuses.add(key, at);
                None
            }
            Some((uid, status, told, _)) => {
                self.hash_alone.remove(&key);
                Some(Job::Status { policy: key, uid, status: Box::new(status), told })
            }
            None => {
                self.hash_alone.remove(&key);
                self.statuses.succeeded(&key);
                None
            }
        }
    }

    pub(super) fn status_written(
        &mut self,
        key: &Key,
        uid: &str,
        status: MeshPolicyStatus,
        told: Vec<Told>,
        result: Result<(), WriteError>,
        now: Instant,
    ) {
        match result {
            Ok(()) => {
                self.metrics.status(Written::Written);
                self.statuses.succeeded(key);
                self.told.extend(told);
                // the watch will say so too, but perhaps later than the next look at the policy
                self.index.set_policy_status(key, uid, status);
            }
            Err(WriteError::Gone(reason)) => {
                tracing::debug!(policy = %key, reason, "status not written: the policy is gone");
                self.statuses.succeeded(key);
            }
            Err(WriteError::Failed(error)) => {
                tracing::warn!(policy = %key, error, "status not written; tried again");
                self.metrics.status(Written::Failed);
                self.statuses.failed(key, now);
            }
        }
    }
}

/// What is wrong, where the status that is shown doesn't say it. Backends that may come later are no warning's worth.
fn told(policy: &Policy, wanted: &MeshPolicyStatus) -> Vec<Told> {
    let find = |status: &MeshPolicyStatus, kind: ConditionType| {
        status.conditions.iter().find(|condition| condition.type_ == kind.as_str()).cloned()
    };
    let warning = |kind: ConditionType| {
        let condition = find(wanted, kind).filter(|condition| condition.status == "False")?;
        let reason = Reason::warned_of(&condition.reason)?;
        let shown = policy.status.as_ref().and_then(|shown| find(shown, kind));
        let is_shown =
            shown.is_some_and(|shown| (shown.reason, &shown.message) == (condition.reason, &condition.message));
        let about = About::Policy { key: policy.key.clone(), uid: policy.reading.uid.clone() };
        (!is_shown).then_some(Told { about, reason, note: condition.message })
    };
    [ConditionType::Accepted, ConditionType::Programmed].into_iter().filter_map(warning).collect()
}
