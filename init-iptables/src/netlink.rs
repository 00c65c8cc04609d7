//! Netlink by hand over libc: attributes, frames, a socket. As much of it as nf_tables and addresses need, and no more:
//! no events, no caches, no async.

pub mod attributes;
pub mod frame;
pub mod socket;

pub use attributes::{Attributes, attributes, find, find_text, find_u32};
pub use frame::{Frame, frames};
pub use socket::{Refused, Socket};
