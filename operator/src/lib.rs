//! The operator: from the API's objects to the proxies' configuration, and back to the policies' status.
//!
//! ```text
//! watch -> index (plain struct) -> compile (pure) -> mesh_config::validate -> publish (server-side apply)
//!                              \-> judge (pure)   -> status  (server-side apply of the subresource)
//! ```
//!
//! `index`, `compile`, `judge`, `status`, `plan`, `queue` and `reconcile` (which owns them) know no client, no task and no
//! clock; `controller` is the one loop that feeds `reconcile` and carries out what it asks for. What is written is a pure function of the API's objects: of two
//! replicas either gives the same bytes, and a lost one costs nothing but the time to read everything again.

pub mod compile;
pub mod controller;
pub mod index;
pub mod judge;
pub mod metrics;
pub mod plan;
pub mod publish;
pub mod queue;
pub mod reconcile;
pub mod run;
pub mod settings;
pub mod status;
#[cfg(test)]
mod testing;
pub mod watch;
