//! From the index to the document of one namespace. The one place that turns MeshPolicy's types into the proxy's.
//!
//! - `sections`: one policy's sections in the proxy's types, each passed through the proxy's own check.
//! - `rank`: which of two policies wins.
//! - `layers`: what holds for the namespace's workloads (the called side).
//! - `callers`: what callers know of Services, the same in every namespace.
//! - `backends`: where a route's backends are.
//!
//! A pure function of the API's objects: no time, no last good state, no order of arrival. It never fails; what is
//! wrong with a policy is `judge`'s to say.

mod backends;
mod callers;
mod layers;
#[cfg(test)]
mod property;
mod rank;
mod sections;
#[cfg(test)]
mod tests;

pub use backends::{Backend, Unresolved, resolve};
pub use callers::Callers;
pub use rank::Rank;
pub use sections::{Routed, Sections};

use crate::index::Index;
use mesh_config::proxy::{Document, VERSION};

/// The document of a meshed namespace.
pub fn compile(index: &Index, namespace: &str) -> Document {
    document(index, namespace, &Callers::of(index))
}

/// The same, for whoever compiles several namespaces and has what they share already.
pub fn document(index: &Index, namespace: &str, callers: &Callers) -> Document {
    Document {
        version: VERSION,
        namespace: namespace.to_owned(),
        layers: layers::layers(index, namespace),
        services: callers.services.clone(),
        clusters: callers.clusters.clone(),
    }
}
