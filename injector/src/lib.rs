//! The mutating webhook. The library's heart is pure, `inject` and `uninject`: decide, merge the settings, plan, patch.
//! Around it stands the server that the API server calls. The operator and the command line call the same functions.
//!
//! ```text
//! review -> decide -> settings (mesh <- namespace <- Pod) -> plan -> patch -> response, counter, Event
//! ```
//!
//! What is deliberately absent: typed Pods. Decisions are made on a light view, patches on the raw JSON, so that fields
//! of Kubernetes versions to come survive.

pub mod annotations;
mod check;
mod compare;
mod decide;
mod existing;
mod inject;
pub mod mesh_source;
pub mod metrics;
pub mod namespaces;
mod patch;
mod plan;
mod quantity;
mod reason;
pub mod review;
pub mod run;
pub mod selectors;
pub mod serve;
mod settings;
mod view;
pub mod webhook;

pub use inject::{Decision, Error, Outcome, inject, uninject};
pub use reason::Reason;
pub use view::{Map, NamespaceView};
