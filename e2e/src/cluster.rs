//! Helpers of the tests that run on a real cluster. They know a kubeconfig and nothing else of it, and talk to it with
//! kubectl, as people do. Without a cluster they fail with a sentence; they never skip.

mod host;
mod namespace;
mod shell;

pub use host::signal_proxy;
pub use namespace::{Namespace, serial};
pub use shell::{Outcome, kubectl, kubectl_as, kubectl_stdin, try_kubectl};

use std::time::{Duration, Instant};

/// The image of `outrigger-testapp`.
pub const TESTAPP: &str = concat!("localhost/outrigger-testapp:", env!("CARGO_PKG_VERSION"));

/// The longest that a ConfigMap takes to a mounted file: one kubelet sync (60 s by default, plus its jitter of half as
/// much), and the wait of its cache (Kubernetes docs, "Mounted ConfigMaps are updated automatically").
pub const TWO_SYNCS: Duration = Duration::from_secs(200);

/// Asks again and again until there is an answer, and fails with what was asked and last seen.
pub fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(answer) => {
                eprintln!("{what}: after {:.1} s", begun.elapsed().as_secs_f32());
                return answer;
            }
            Err(seen) if begun.elapsed() > limit => panic!("{what}: not within {limit:?}; last seen: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// A fresh id, to find one request in the logs of everybody whom it passed.
pub fn fresh_id() -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = || std::hash::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
