//! Where a route's backends are. Until proxies have endpoints of their own, a backend is reached by its Service's
//! addresses.
//!
//! A backend that isn't there keeps its share, as in Gateway API: its cluster has no endpoints, which the proxy answers
//! with 500. To leave it out would send its share elsewhere.

use crate::index::{Index, Key, Reached};
use mesh_config::proxy::{Cluster, Endpoint};

/// What a `backendRef` names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    pub service: Key,
    pub port: u16,
}

/// Why a backend can't be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    NotFound,
    /// The TCP ports that are there instead.
    PortNotFound(Vec<u16>),
    Headless,
    ExternalName,
}

impl Backend {
    /// The cluster's name: `NAMESPACE/NAME:PORT`.
    pub fn cluster(&self) -> String {
        format!("{}:{}", self.service, self.port)
    }
}

/// One endpoint with all addresses of the Service.
pub fn resolve(index: &Index, backend: &Backend) -> Result<Endpoint, Unresolved> {
    let service = index.service(&backend.service).ok_or(Unresolved::NotFound)?;
    let addresses = match &service.reached {
        Reached::ByAddress(addresses) => addresses,
        Reached::Headless => return Err(Unresolved::Headless),
        Reached::ByExternalName => return Err(Unresolved::ExternalName),
    };
    let ports: Vec<u16> = service.tcp_ports(None).map(|port| port.port).collect();
    if !ports.contains(&backend.port) {
        return Err(Unresolved::PortNotFound(ports));
    }
    Ok(Endpoint { addresses: addresses.clone(), port: backend.port })
}

pub(super) fn cluster(index: &Index, backend: &Backend) -> Cluster {
    Cluster { endpoints: resolve(index, backend).into_iter().collect() }
}
