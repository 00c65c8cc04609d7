//! The contract between Outrigger's parts: names and ports, value types, the mesh's and the Pod's settings, and the
//! proxy's configuration document with its one `validate`.
//!
//! What is deliberately absent: IO, async, Kubernetes types, the process environment (readers are passed in). The
//! operator and the proxy meet only here.

pub mod capture;
pub mod duration;
pub mod filter;
pub mod mesh;
pub mod names;
pub mod pod;
pub mod ports;
pub mod problem;
pub mod protocol;
pub mod proxy;
pub mod ranges;
pub mod selector;
pub mod settings;

pub use capture::Capture;
pub use duration::Duration;
pub use filter::Filter;
pub use mesh::Mesh;
pub use ports::{ContainerPort, PortRef};
pub use problem::{Problem, Problems};
pub use protocol::Protocol;
pub use ranges::{PortSet, Ranges, UidSet};
pub use selector::Selector;
pub use settings::Settings;

/// `sha256:<hex>` over a file's bytes, computed alike by whoever writes a document and whoever reads it.
pub fn hash(bytes: &[u8]) -> String {
    use sha2::Digest;
    use std::fmt::Write;
    let mut text = String::from("sha256:");
    for byte in sha2::Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
