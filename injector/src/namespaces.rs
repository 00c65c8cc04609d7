//! Every namespace's labels and annotations, kept up to date by a watch, and read live where the watch can't be right.

use crate::selectors::{Path, excluded, namespace_selected};
use crate::view::NamespaceView;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use mesh_config::Mesh;
use mesh_runtime::readiness::Gate;
use mesh_runtime::signals::Shutdown;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// The API server gives us five seconds in all.
const LIVE: Duration = Duration::from_secs(3);

type Meta = PartialObjectMeta<Namespace>;
type Known = HashMap<String, Arc<NamespaceView>>;

/// Clones share what is known.
#[derive(Clone)]
pub struct Namespaces {
    client: Client,
    known: Arc<RwLock<Known>>,
}

/// A namespace that couldn't be read.
#[derive(Debug, thiserror::Error)]
#[error("namespace {name} can't be read: {reason}")]
pub struct Unreadable {
    name: String,
    reason: String,
}

impl Namespaces {
    pub fn new(client: Client) -> Self {
        Namespaces { client, known: Arc::default() }
    }

    /// Watches until shutdown; the gate opens once all are known. The watch tries again by itself.
    pub async fn run(self, gate: Gate, shutdown: Shutdown) {
        let api = Api::<Meta>::all(self.client.clone());
        let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut listed = Known::new();
        loop {
            let event = tokio::select! {
                () = shutdown.requested() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(event)) => self.hear(event, &mut listed, &gate),
                Some(Err(error)) => tracing::warn!(%error, "watching namespaces; trying again"),
                None => return,
            }
        }
    }

    /// `listed` collects a list until it is whole, so that nobody sees half of one.
    fn hear(&self, event: watcher::Event<Meta>, listed: &mut Known, gate: &Gate) {
        let entry = |meta: &Meta| (meta.name_any(), Arc::new(view(meta)));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(meta) => listed.extend([entry(&meta)]),
            watcher::Event::InitDone => {
                *known = std::mem::take(listed);
                gate.open();
            }
            watcher::Event::Apply(meta) => known.extend([entry(&meta)]),
            watcher::Event::Delete(meta) => {
                known.remove(&meta.name_any());
            }
        }
    }

    /// The namespace of a Pod that came through this webhook. Where the webhook's selector wouldn't have matched what
    /// the watch last said, the API server has seen a newer one, and so do we.
    pub async fn find(&self, path: Path, name: &str, mesh: &Mesh) -> Result<Arc<NamespaceView>, Unreadable> {
        if excluded(mesh).any(|excluded| excluded == name) {
            return Ok(Arc::new(NamespaceView::named(name)));
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        match known.filter(|known| namespace_selected(path, known, mesh)) {
            Some(known) => Ok(known),
            None => self.live(name).await.map(Arc::new),
        }
    }

    async fn live(&self, name: &str) -> Result<NamespaceView, Unreadable> {
        let unreadable = |reason| Unreadable { name: name.to_owned(), reason };
        let api = Api::<Meta>::all(self.client.clone());
        match tokio::time::timeout(LIVE, api.get(name)).await {
            Ok(Ok(meta)) => Ok(view(&meta)),
            Ok(Err(error)) => Err(unreadable(error.to_string())),
            Err(_) => Err(unreadable(format!("no answer within {} s", LIVE.as_secs()))),
        }
    }
}

fn view(meta: &Meta) -> NamespaceView {
    NamespaceView { name: meta.name_any(), labels: meta.labels().clone(), annotations: meta.annotations().clone() }
}

#[cfg(test)]
mod tests;
