//! Every case of section 4 of the design with real packets: the real `outrigger-init` in a network namespace, real
//! connections, and a judge ([`e2e::netns::evaluator`]) who knows only the design. Needs root, iproute2 and nftables;
//! `cargo build -p init-iptables` first, then `cargo test -p e2e --features netns --test netns_capture`.
//!
//! Not here: the proxy (stand-ins hold its ports), other backends, and kernels that lack a module, which no test can
//! arrange (`init-iptables/src/nft/lacking.rs` has the table).

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml exempts functions marked #[test] alone; helpers of tests are tests too"
)]

#[path = "netns_capture/inbound.rs"]
mod inbound;
#[path = "netns_capture/lifecycle.rs"]
mod lifecycle;
#[path = "netns_capture/outbound.rs"]
mod outbound;
#[path = "netns_capture/privileges.rs"]
mod privileges;
#[path = "netns_capture/proof.rs"]
mod proof;
#[path = "netns_capture/random.rs"]
mod random;
#[path = "netns_capture/tables.rs"]
mod tables;

use e2e::netns::packet::StandIn;
use e2e::netns::{Families, Init, Namespace, Packet, Topology, Verdict, evaluate};
use mesh_config::Capture;

/// Applies, sends every packet, and compares three verdicts: the test's, the design's, and where it really arrived.
fn check(capture: &Capture, rows: &[(Packet, Verdict)]) {
    check_in(&Topology::new().unwrap(), capture, rows);
}

fn check_in(topology: &Topology, capture: &Capture, rows: &[(Packet, Verdict)]) {
    Init::find().unwrap().apply(&topology.pod, capture).unwrap();
    let proxy = StandIn::start(&topology.pod).unwrap();
    let mut wrong = Vec::new();
    for (packet, expected) in rows {
        let design = evaluate(capture, Topology::seen(packet));
        let real = packet.send(topology, &proxy);
        if design != *expected || real.as_ref().ok() != Some(expected) {
            wrong.push(format!("{packet:?}: expected {expected:?}, by the design {design:?}, really {real:?}"));
        }
    }
    assert!(wrong.is_empty(), "{capture:?}\n{}", wrong.join("\n"));
}

fn ipv4_only() -> Topology {
    Topology::with(Families::Ipv4Only).unwrap()
}

/// Loads rules as somebody else would; they stand on one line here, and nft wants a new one behind each closing brace.
fn load_with_nft(namespace: &Namespace, rules: &str) {
    namespace.tool_with("nft -f -", &rules.replace("} ", "}\n")).unwrap();
}
