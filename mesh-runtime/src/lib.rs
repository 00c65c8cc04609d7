//! What every long-running binary needs, each module one idea: logs, signals, readiness, an admin port, TLS with
//! reload, watching a mounted directory, counting panics.
//!
//! Deliberately absent: Kubernetes, and our own configuration types. Nothing here knows what is being served.
#![deny(missing_docs)]

pub mod admin;
pub mod dirwatch;
pub mod listen;
pub mod logs;
pub mod panic;
pub mod readiness;
pub mod signals;
pub mod tls;

#[cfg(test)]
mod testing;
