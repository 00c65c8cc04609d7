//! The real `outrigger-init` and the real `outrigger-proxy` in a Pod of two network namespaces, with real packets, and
//! with clients that aren't ours (curl) where they speak HTTP. Needs root, iproute2, nftables and curl;
//! `cargo build -p init-iptables -p outrigger-proxy -p e2e --bins` first, then
//! `cargo test -p e2e --features netns --test netns_proxy`.
//!
//! [`capture`] sends the packets of `netns_capture`, and some of its own, and asks the proxy what it got; the others look
//! at what the proxy does with connections. Not here: mTLS, Services with several backends, drain.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml exempts functions marked #[test] alone; helpers of tests are tests too"
)]

#[path = "netns_proxy/capture.rs"]
mod capture;
#[path = "netns_proxy/clients.rs"]
mod clients;
#[path = "netns_proxy/configuration.rs"]
mod configuration;
#[path = "netns_proxy/hostile.rs"]
mod hostile;
#[path = "netns_proxy/http.rs"]
mod http;
#[path = "netns_proxy/opaque.rs"]
mod opaque;
#[path = "netns_proxy/teller.rs"]
mod teller;

use e2e::netns::{Init, Program, Topology, init, program};
use mesh_config::Capture;

/// A document that says nothing.
const NOTHING: &str = r#"{"version": 1}"#;

/// An ordinary program's user in the Pod.
const APP: u32 = 1000;

/// A Pod with everything captured.
fn captured() -> Topology {
    let topology = Topology::new().unwrap();
    Init::find().unwrap().apply(&topology.pod, &Capture::default()).unwrap();
    topology
}

/// Whose program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Pod,
    Peer,
}

/// A server of the test application.
fn server(topology: &Topology, at: At, words: &[&str]) -> Program {
    let namespace = if at == At::Pod { &topology.pod } else { &topology.peer };
    let path = init::find_binary("outrigger-testapp", "e2e").unwrap();
    let mut command = program::binary(namespace, APP, APP, &path).unwrap();
    Program::serve(command.args(words)).unwrap()
}
