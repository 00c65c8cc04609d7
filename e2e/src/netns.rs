//! A Pod and its peer as two network namespaces joined by veth, for tests of capture with real packets and without a
//! cluster. Needs root; whoever lacks it gets an error that says so, never a skipped test.
//!
//! ```text
//!  Pod                         peer (a node, another Pod, the world)
//!   eth0 10.77.0.2 fd77::2 ---- eth0 10.77.0.1 fd77::1     default route of the Pod
//!   eth1 10.78.0.2 fd78::2 ---- eth1 10.78.0.1 fd78::1     a second network, for interfaces
//!   lo                          lo   addresses from anywhere: services, other networks
//! ```
//!
//! A test makes a [`Topology`], runs `outrigger-init` in the Pod with [`Init`], sends [`Packet`]s, and compares where
//! each arrived with what the [`evaluator`] reads from the design. Namespaces have no names: they end with their last
//! descriptor, on a panic and on SIGKILL too. Nothing here knows what the listeners on 15001 and 15006 are:
//! [`Listener`] stands in for the proxy, [`Proxy`] is the real one.

pub mod evaluator;
pub mod init;
pub mod listener;
pub mod namespace;
pub mod packet;
pub mod program;
pub mod proxy;
pub mod topology;

pub use evaluator::{Seen, Verdict, evaluate};
pub use init::{Init, Outcome, Privilege};
pub use listener::{Arrival, Listener};
pub use namespace::Namespace;
pub use packet::{Origin, Packet};
pub use program::Program;
pub use proxy::Proxy;
pub use topology::{Families, Topology};
