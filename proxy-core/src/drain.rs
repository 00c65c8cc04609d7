//! How the proxy goes: first it asks callers to leave (`Connection: close`, GOAWAY) while it still takes what comes, then
//! it takes nothing more and finishes what is in flight. And how much that is.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Only forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    Serving,
    /// The Pod is leaving its Services; callers that haven't heard of it still come.
    Draining,
    /// Nothing new.
    Stopping,
}

/// The phase that all workers are in.
#[derive(Debug, Default)]
pub struct Phases(AtomicU8);

impl Phases {
    pub fn get(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    pub fn advance(&self, to: Phase) {
        self.0.fetch_max(to as u8, Ordering::Relaxed);
    }
}

/// What one worker carries. In cache lines of its own: what is counted for each request is written by that worker alone.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    connections: AtomicUsize,
    in_flight: AtomicUsize,
}

impl Load {
    /// Callers' connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests without their whole answer, and open opaque connections.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// By whichever worker accepted it: so that a burst is spread before the others have looked.
    pub(crate) fn connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn began(&self) {
        // without a locked instruction: there is one writer
        self.in_flight.store(self.in_flight() + 1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self) {
        self.in_flight.store(self.in_flight().saturating_sub(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_go_forward() {
        let phases = Phases::default();
        let seen: Vec<_> = [Phase::Draining, Phase::Stopping, Phase::Draining, Phase::Serving]
            .into_iter()
            .map(|to| {
                phases.advance(to);
                phases.get()
            })
            .collect();
        assert_eq!(seen, [Phase::Draining, Phase::Stopping, Phase::Stopping, Phase::Stopping]);
    }
}
