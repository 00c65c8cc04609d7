//! A panic ends one connection, never the process: it is logged, counted, and the thread unwinds.

use std::panic::PanicHookInfo;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static PANICS: AtomicU64 = AtomicU64::new(0);

/// How many panics there were since [`install_hook`]; belongs into a metric.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Makes panics show in the log and in [`panics`]. Calling it again changes nothing.
pub fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            // Before logs are set up, an event would go nowhere, and the panic with it.
            if tracing::dispatcher::has_been_set() { log(info) } else { before(info) }
        }));
    });
}

fn log(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        location,
        thread = thread.name().unwrap_or("unnamed"),
        reason = info.payload_as_str().unwrap_or("(the panic carries no text)"),
        "panic"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_counted_and_still_unwinds() {
        install_hook();
        install_hook();
        let before = panics();
        let caught = std::panic::catch_unwind(|| panic!("one connection's fault"));
        assert!(caught.is_err());
        // Other tests of this process may panic at the same time.
        assert!(panics() > before);
    }
}
