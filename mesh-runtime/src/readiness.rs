//! Ready or not, and why not: every part that readiness waits for holds a named gate, and all must be open.
//!
//! Each gate is closed until it is opened, so a part that never came up shows by name in the report.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The gates of one program. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    gates: Arc<Mutex<Vec<State>>>,
}

#[derive(Debug)]
struct State {
    name: String,
    /// `None`: open.
    closed: Option<String>,
}

/// One thing that readiness waits for. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    gates: Arc<Mutex<Vec<State>>>,
    index: usize,
}

impl Readiness {
    /// No gates: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new gate, closed until it is opened.
    pub fn gate(&self, name: &str) -> Gate {
        let mut gates = lock(&self.gates);
        gates.push(State { name: name.to_owned(), closed: Some("not done yet".to_owned()) });
        Gate { gates: Arc::clone(&self.gates), index: gates.len() - 1 }
    }

    /// Are all gates open?
    pub fn is_ready(&self) -> bool {
        lock(&self.gates).iter().all(|gate| gate.closed.is_none())
    }

    /// `ready`, or a line for every closed gate with its reason.
    pub fn report(&self) -> String {
        let gates = lock(&self.gates);
        let mut report = String::new();
        for State { name, closed } in gates.iter() {
            if let Some(reason) = closed {
                // Writing to a String can't fail.
                let _ = writeln!(report, "not ready: {name}: {reason}");
            }
        }
        if report.is_empty() { "ready\n".to_owned() } else { report }
    }
}

impl Gate {
    /// Nothing to wait for here (any more).
    pub fn open(&self) {
        self.set(None);
    }

    /// Not ready, for this reason.
    pub fn close(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    /// Is it open?
    pub fn is_open(&self) -> bool {
        lock(&self.gates).get(self.index).is_none_or(|state| state.closed.is_none())
    }

    fn set(&self, closed: Option<String>) {
        let mut gates = lock(&self.gates);
        let Some(state) = gates.get_mut(self.index) else { return };
        if state.closed.is_some() != closed.is_some() {
            match &closed {
                None => tracing::info!(gate = state.name, "ready"),
                Some(reason) => tracing::warn!(gate = state.name, reason, "not ready"),
            }
        }
        state.closed = closed;
    }
}

fn lock(gates: &Mutex<Vec<State>>) -> MutexGuard<'_, Vec<State>> {
    gates.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_gate_is_open_and_the_report_names_those_that_are_not() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());

        let certificate = readiness.gate("certificate");
        let config = readiness.gate("config");
        assert_eq!(readiness.report(), "not ready: certificate: not done yet\nnot ready: config: not done yet\n");

        certificate.clone().open();
        config.close("no valid document");
        assert!(certificate.is_open());
        assert!(!readiness.clone().is_ready());
        assert_eq!(readiness.report(), "not ready: config: no valid document\n");

        config.open();
        assert_eq!((readiness.is_ready(), readiness.report()), (true, "ready\n".into()));

        config.close("draining");
        assert_eq!((readiness.is_ready(), readiness.report()), (false, "not ready: config: draining\n".into()));
    }
}
