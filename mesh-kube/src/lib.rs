//! What injector and operator share of Kubernetes: a client with deadlines, leader election, Events, server-side apply,
//! and the webhook's certificate.
//!
//! Deliberately absent: what is reconciled. Nothing here knows a MeshPolicy, a Pod to inject, or a proxy.
#![deny(missing_docs)]

pub mod apply;
pub mod client;
pub mod events;
pub mod lease;
pub mod webhook_cert;

#[cfg(test)]
mod fake_api;
