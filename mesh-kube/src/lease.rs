//! Leader election over a `coordination.k8s.io` Lease: at most one replica acts at a time.
//!
//! Clocks are never compared. A candidate takes over when *it* has seen no change of the record for as long as the
//! record says it is good; the leader stops earlier than that, counted from *before* it sent the last renewal that
//! worked. Of two that write at the same time the API server's resourceVersion lets one through.
//!
//! Kubernetes gives no fencing: a leader that is stopped for longer than the margin (SIGSTOP, a paused virtual machine)
//! may finish a write that it had begun. What leaders write has to bear that (server-side apply of a pure function's
//! output does).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use mesh_runtime::signals::Shutdown;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Others take over after this; the same numbers as client-go's defaults.
const DURATION: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(2);
/// The leader stops so long before others may begin.
const MARGIN: Duration = Duration::from_secs(5);
/// A renewal that hangs must leave time for another one.
const REQUEST: Duration = Duration::from_secs(3);

/// Takes part in the election from a task of its own; the receiver says whether `identity` (unique for each replica: the
/// Pod's name) leads, at first `false`.
///
/// On `shutdown` it says `false`, gives the lease back, and then closes the channel: see [`released`].
pub fn campaign(
    client: Client,
    namespace: &str,
    name: &str,
    identity: &str,
    shutdown: Shutdown,
) -> watch::Receiver<bool> {
    let (leads, receiver) = watch::channel(false);
    let candidate = Candidate {
        api: Api::namespaced(client, namespace),
        name: name.to_owned(),
        identity: identity.to_owned(),
        seen: None,
    };
    tokio::spawn(candidate.run(leads, shutdown));
    receiver
}

/// Returns once the campaign is over and its lease given back: before the process ends, so that the next leader needn't
/// wait for the lease to run out.
pub async fn released(leads: &mut watch::Receiver<bool>) {
    while leads.changed().await.is_ok() {}
}

/// What to do about the record that was read.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Create,
    Renew,
    TakeOver,
    Wait,
}

/// `unchanged` is how long we have seen the record as it is.
fn decide(record: Option<&LeaseSpec>, unchanged: Duration, identity: &str) -> Decision {
    let Some(record) = record else { return Decision::Create };
    match record.holder_identity.as_deref() {
        Some(holder) if holder == identity => Decision::Renew,
        None | Some("") => Decision::TakeOver,
        Some(_) if unchanged >= good_for(record) => Decision::TakeOver,
        Some(_) => Decision::Wait,
    }
}

fn good_for(record: &LeaseSpec) -> Duration {
    let seconds = record.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(DURATION, Duration::from_secs)
}

struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The record as last seen, and since when.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    async fn run(mut self, leads: watch::Sender<bool>, shutdown: Shutdown) {
        // Until when the last renewal that worked lets us act.
        let mut until: Option<Instant> = None;
        while !shutdown.is_requested() {
            let started = Instant::now();
            let end = until.map_or(started + REQUEST, |until| until.min(started + REQUEST));
            let mut next = started + RETRY;
            match timeout_at(end, self.round()).await {
                Ok(Ok(true)) => {
                    until = Some(started + DURATION - MARGIN);
                    next = started + RENEW;
                }
                Ok(Ok(false)) => until = None,
                Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "lease not renewed"),
                Err(_) => tracing::warn!(lease = self.name, "no answer about the lease in time"),
            }
            until = until.filter(|until| *until > Instant::now());
            self.say(&leads, until.is_some());
            tokio::select! {
                () = shutdown.requested() => {}
                () = sleep_until(until.map_or(next, |until| until.min(next))) => {}
            }
        }
        self.say(&leads, false);
        if until.is_some() && !matches!(timeout(REQUEST, self.release()).await, Ok(Ok(()))) {
            tracing::warn!(lease = self.name, "the lease couldn't be given back; it runs out by itself");
        }
    }

    fn say(&self, leads: &watch::Sender<bool>, now: bool) {
        let changed = leads.send_if_modified(|leads| std::mem::replace(leads, now) != now);
        if changed {
            tracing::info!(lease = self.name, identity = self.identity, leader = now, "leadership");
        }
    }

    /// Reads and, if it is ours or free, writes. Do we hold it now?
    async fn round(&mut self) -> kube::Result<bool> {
        let lease = self.api.get_opt(&self.name).await?;
        let record = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        let unchanged = record.as_ref().map_or(Duration::ZERO, |record| self.observe(record));
        let decision = decide(record.as_ref(), unchanged, &self.identity);
        let record = record.unwrap_or_default();
        let now = Some(MicroTime(Timestamp::now()));
        let mine = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            renew_time: now.clone(),
            acquire_time: if decision == Decision::Renew { record.acquire_time.clone() } else { now },
            lease_transitions: Some(
                record.lease_transitions.unwrap_or_default() + i32::from(decision == Decision::TakeOver),
            ),
            ..record
        };
        let written = match (decision, lease) {
            (Decision::Wait, _) => return Ok(false),
            // The resourceVersion that was read goes back with it.
            (_, Some(lease)) => {
                let lease = Lease { spec: Some(mine), ..lease };
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
            (_, None) => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(mine) }).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 && !self.held() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How long the record has been as it is, in our own time.
    fn observe(&mut self, record: &LeaseSpec) -> Duration {
        match &self.seen {
            Some((seen, since)) if seen == record => since.elapsed(),
            _ => {
                self.seen = Some((record.clone(), Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn held(&self) -> bool {
        self.seen.as_ref().is_some_and(|(seen, _)| seen.holder_identity.as_ref() == Some(&self.identity))
    }

    async fn release(&self) -> kube::Result<()> {
        let mut lease = self.api.get(&self.name).await?;
        if let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity)) {
            spec.holder_identity = None;
            self.api.replace(&self.name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
