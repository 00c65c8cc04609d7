//! The one loop: news in, jobs out. Everything that is decided is decided in `reconcile`; here are only the waits.

#[cfg(test)]
mod tests;

use crate::publish::{self, WriteError};
use crate::reconcile::{About, Job, Reconciler, Told, Turn};
use crate::watch::everything;
use futures_util::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::Preconditions;
use kube::{Client, Resource};
use mesh_config::names;
use mesh_kube::events::{Events, Type};
use mesh_runtime::readiness::Gate;
use mesh_runtime::signals::Shutdown;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// What Events name as the thing that was tried.
const ACTION: &str = "Program";

/// Runs until shutdown. `gate` opens when every list was whole once, in the leader and in followers.
pub async fn run(
    client: Client,
    system_namespace: &str,
    mut reconciler: Reconciler,
    events: Events,
    mut leads: watch::Receiver<bool>,
    gate: Gate,
    shutdown: Shutdown,
) {
    let mut news = everything(&client, system_namespace);
    let mut jobs: JoinSet<(Job, Result<(), WriteError>)> = JoinSet::new();
    let mut campaigning = true;
    gate.close("nothing was listed yet");
    while !shutdown.is_requested() {
        match reconciler.waits_for() {
            None => gate.open(),
            // ready once is ready for good: a watch that is begun again forgets nothing
            Some(reason) if !gate.is_open() => gate.close(reason),
            Some(_) => {}
        }
        let turn = reconciler.turn(Instant::now(), Timestamp::now());
        for told in reconciler.take_told() {
            tell(&events, told);
        }
        let idle = turn == Turn::Idle;
        if let Turn::Job(job) = turn {
            jobs.spawn(carry_out(client.clone(), job));
        } else if !idle {
            // compiling takes milliseconds, and the lease wants to be renewed meanwhile
            tokio::task::yield_now().await;
        }
        // however much there is to do: whether we lead comes first
        if !idle && !leads.has_changed().unwrap_or(false) {
            continue;
        }
        let wake = reconciler.wake();
        tokio::select! {
            () = shutdown.requested() => {}
            Some(heard) = news.next() => reconciler.hear(heard, Instant::now()),
            changed = leads.changed(), if campaigning => {
                campaigning = changed.is_ok();
                let leading = campaigning && *leads.borrow_and_update();
                if !leading {
                    // what another leader may be writing now must not be written by us
                    jobs.abort_all();
                    while jobs.join_next().await.is_some() {}
                }
                reconciler.lead(leading, Instant::now());
            }
            Some(done) = jobs.join_next() => match done {
                Ok((job, result)) => reconciler.finished(job, result, Instant::now()),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            },
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
    }
}

async fn carry_out(client: Client, job: Job) -> (Job, Result<(), WriteError>) {
    let result = match &job {
        Job::Write { namespace, json, hash } => publish::document(client, namespace, json, hash).await,
        Job::Delete { namespace, uid, resource_version } => {
            let seen = Preconditions { uid: uid.clone(), resource_version: resource_version.clone() };
            publish::delete(client, namespace, seen).await
        }
        Job::Status { policy, uid, status, .. } => publish::status(client, policy, uid, status).await,
    };
    (job, result)
}

fn tell(events: &Events, told: Told) {
    let reference = |api_version: &str, kind: &str, namespace: &str, name: &str| ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    };
    let object = match told.about {
        About::Policy { key, uid } => {
            let api_version = crds::MeshPolicy::api_version(&());
            let object = reference(&api_version, &crds::MeshPolicy::kind(&()), &key.namespace, &key.name);
            ObjectReference { uid: Some(uid).filter(|uid| !uid.is_empty()), ..object }
        }
        About::Document { namespace } => reference("v1", "ConfigMap", &namespace, names::CONFIGMAP_PROXY),
    };
    events.publish(object, Type::Warning, told.reason, ACTION, &told.note);
}
