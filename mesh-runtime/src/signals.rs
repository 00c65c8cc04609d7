//! One wish to stop, shared by all parts of a program: SIGTERM and SIGINT make it, tests and a drain can make it too.
//!
//! The second signal ends the process at once: whoever presses Ctrl-C twice doesn't want to wait for a drain.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What shells say of a program that Ctrl-C ended: 128 + SIGINT.
const EXIT_CODE: i32 = 130;

/// Has somebody asked us to stop? Clones share the answer; it never goes back to no. Works across runtimes.
#[derive(Clone, Debug)]
pub struct Shutdown {
    wish: Arc<watch::Sender<bool>>,
}

impl Shutdown {
    /// Not requested, and only [`trigger`](Self::trigger) will.
    pub fn new() -> Self {
        Self { wish: Arc::new(watch::Sender::new(false)) }
    }

    /// Requested by the first SIGTERM or SIGINT; the second one exits with code 130. Needs a running runtime.
    pub fn on_signals() -> io::Result<Self> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let shutdown = Self::new();
        tokio::spawn({
            let shutdown = shutdown.clone();
            async move {
                let signal = either(&mut term, &mut int).await;
                tracing::info!(signal, "stopping");
                shutdown.trigger();
                let signal = either(&mut term, &mut int).await;
                tracing::warn!(signal, "second signal: leaving at once");
                std::process::exit(EXIT_CODE);
            }
        });
        Ok(shutdown)
    }

    /// Asks for it.
    pub fn trigger(&self) {
        self.wish.send_replace(true);
    }

    /// Returns as soon as it is requested, at once if it was.
    pub async fn requested(&self) {
        // An error would mean that no sender is left, but `self` holds one.
        let _ = self.wish.subscribe().wait_for(|requested| *requested).await;
    }

    /// Was it requested?
    pub fn is_requested(&self) -> bool {
        *self.wish.borrow()
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

async fn either(term: &mut Signal, int: &mut Signal) -> &'static str {
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    #[tokio::test]
    async fn every_clone_hears_the_wish_also_those_that_ask_late() {
        let shutdown = Shutdown::new();
        let early = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        tokio::task::yield_now().await;
        assert!(!shutdown.is_requested());
        assert!(!early.is_finished());

        shutdown.clone().trigger();
        early.await.unwrap();
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }

    /// Signals reach a whole process, so they are tried on `examples/until_signalled.rs`, which `cargo test` builds too.
    fn child_after(signals: &[&str]) -> (Vec<String>, Option<i32>) {
        let own = std::env::current_exe().unwrap();
        let program = own.ancestors().nth(2).unwrap().join("examples/until_signalled");
        let mut child = Command::new(&program)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; cargo build -p mesh-runtime --examples", program.display()));
        let mut said = Vec::new();
        let mut signals = signals.iter();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            said.push(line.unwrap());
            if let Some(name) = signals.next() {
                let kill = format!("kill -{name} {}", child.id());
                assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
            }
        }
        (said, child.wait().unwrap().code())
    }

    #[test]
    fn the_first_signal_asks_and_the_second_ends_the_process() {
        assert_eq!(child_after(&["TERM", "TERM"]), (vec!["running".into(), "stopping".into()], Some(130)));
        assert_eq!(child_after(&["INT", "TERM"]), (vec!["running".into(), "stopping".into()], Some(130)));
    }
}
