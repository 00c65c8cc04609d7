//! The configuration's way in: a mounted directory (or a file) is watched, what is read is judged, and what is good is put
//! in force. What is bad keeps the last good document, is counted, and shows with all its problems on `/config_dump`.
//!
//! [`keeper`] decides, without IO; here is the shell around it: events in, snapshots out, the last good document on disk.

pub mod dump;
pub mod keeper;
pub mod labels;
mod state;
#[cfg(test)]
mod tests;

use crate::settings::{Options, Watched};
use keeper::{Keeper, Origin};
use mesh_runtime::dirwatch::{DEFAULT_POLL, Event, watch_file};
use mesh_runtime::readiness::Gate;
use proxy_core::snapshot::{Defaults, Snapshot};
use proxy_core::telemetry::{Telemetry, metrics::Reload};
use state::State;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::Receiver;

/// What the admin port tells of it; shared with [`Source::run`].
#[derive(Clone, Debug)]
pub struct Config(Arc<Mutex<Keeper>>);

/// Where the configuration comes from and goes to.
pub struct Source {
    config: Config,
    document: Watched,
    labels: Option<Watched>,
    state: Option<State>,
    telemetry: Arc<Telemetry>,
    ready: Gate,
    apply: Box<dyn FnMut(Snapshot) + Send>,
}

impl Config {
    pub fn new(options: &Options) -> Config {
        let proxy = &options.settings.proxy;
        let defaults = Defaults { detect_timeout: proxy.detect_timeout.as_std(), access_log: proxy.access_log };
        let keeper = Keeper::new(options.settings.ports.clone(), defaults, options.labels.is_none());
        Config(Arc::new(Mutex::new(keeper)))
    }

    /// The judge, for a moment.
    pub fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// `apply` puts a snapshot in force; `ready` opens with the first.
    pub fn new(
        options: &Options,
        config: Config,
        telemetry: Arc<Telemetry>,
        ready: Gate,
        apply: impl FnMut(Snapshot) + Send + 'static,
    ) -> Source {
        Source {
            config,
            document: options.document.clone(),
            labels: options.labels.clone(),
            state: options.state_dir.as_deref().map(State::new),
            telemetry,
            ready,
            apply: Box::new(apply),
        }
    }

    /// Watches until it is dropped.
    pub async fn run(mut self) {
        let watch = |file: &Watched| watch_file(&file.directory, &file.name, DEFAULT_POLL);
        let mut documents = watch(&self.document);
        let mut labels = self.labels.as_ref().map(watch);
        loop {
            tokio::select! {
                event = documents.recv() => match event {
                    Some(event) => self.document(event),
                    None => return,
                },
                Some(event) = next(&mut labels) => self.labels(event),
            }
            if let Some(reason) = self.config.keeper().not_ready() {
                self.ready.close(reason);
            }
        }
    }

    fn document(&mut self, event: Event) {
        match event {
            Event::Changed { bytes, hash } => self.judge(&bytes, &hash, Origin::Source),
            Event::Missing => {
                let path = self.document.directory.join(&self.document.name);
                let reason = format!("{} is not there", path.display());
                tracing::warn!(reason, "no configuration document");
                self.config.keeper().unavailable(reason);
            }
            Event::Unreadable(error) => {
                tracing::warn!(%error, "the configuration document can't be read");
                self.config.keeper().unavailable(error.to_string());
            }
        }
        // a container that is started again doesn't have to wait for somebody to mend the document
        if !self.config.keeper().has_document()
            && let Some((bytes, hash)) = self.state.as_ref().and_then(State::load)
        {
            tracing::warn!(hash, "falling back to the last good document");
            self.judge(&bytes, &hash, Origin::LastGood);
        }
    }

    fn judge(&mut self, bytes: &[u8], hash: &str, origin: Origin) {
        let outcome = self.config.keeper().document(bytes, hash, origin);
        if let Err(problems) = &outcome {
            tracing::error!(hash, %problems, "configuration refused; the one before stays in force");
            self.telemetry.metrics.reloaded(Reload::Refused);
        }
        if outcome.is_ok()
            && origin == Origin::Source
            && let Some(state) = &self.state
            && let Err(error) = state.save(bytes)
        {
            tracing::warn!(%error, "the document can't be kept for a restart");
        }
        self.put_in_force(outcome.unwrap_or_default());
    }

    fn labels(&mut self, event: Event) {
        let read = match event {
            Event::Changed { bytes, .. } => labels::parse(&bytes),
            Event::Missing => Err("the file isn't there".into()),
            Event::Unreadable(error) => Err(error.to_string()),
        };
        let outcome = match read {
            Ok(labels) => self.config.keeper().labels(labels),
            Err(reason) => {
                tracing::error!(reason, "the workload's labels can't be read; those known before stay");
                return;
            }
        };
        if let Err(problems) = &outcome {
            tracing::error!(%problems, "configuration refused for the new labels; the one before stays in force");
            self.telemetry.metrics.reloaded(Reload::Refused);
        }
        self.put_in_force(outcome.unwrap_or_default());
    }

    fn put_in_force(&mut self, snapshot: Option<Snapshot>) {
        let Some(snapshot) = snapshot else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (hash, generation) = (Arc::clone(&snapshot.hash), snapshot.generation);
        let unknown = self.config.keeper().unknown_fields();
        (self.apply)(snapshot);
        self.telemetry.metrics.reloaded(Reload::Applied);
        self.telemetry.metrics.config_in_force(&hash, generation, unknown, now);
        if unknown > 0 {
            tracing::warn!(unknown, "the document has fields that this version doesn't know; see /config_dump");
        }
        tracing::info!(%hash, generation, "configuration in force");
        self.ready.open();
    }
}

/// The next event, or never.
async fn next(events: &mut Option<Receiver<Event>>) -> Option<Event> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}
