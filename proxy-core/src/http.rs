//! HTTP/1.1 and HTTP/2 on hyper's connections: what is the same at both sides of a Pod.

pub mod answer;
pub mod body;
pub mod forward;
pub mod grpc;
pub mod headers;
pub mod limits;
pub mod respond;
pub mod serve;
pub mod upgrade;
