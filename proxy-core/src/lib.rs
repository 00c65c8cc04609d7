//! The data plane. Knows no Kubernetes, no files, no environment.

pub mod accept;
pub mod addr;
pub mod alarm;
pub mod app;
pub mod detect;
pub mod downstream;
pub mod drain;
pub mod error;
pub mod http;
pub mod inbound;
pub mod io;
pub mod listen;
pub mod opaque;
pub mod outbound;
pub mod policy;
pub mod protocol;
pub mod random;
pub mod route;
pub mod snapshot;
pub mod tcp;
pub mod telemetry;
pub mod upstream;
pub mod worker;
