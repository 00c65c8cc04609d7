//! The nf_tables backend: one `inet` table of our own, replaced in one transaction, over netlink and without any tool.
//! [`mod@lower`] compiles the rules to what the kernel knows, [`mod@load`] sends it, [`mod@read_back`] reads what is
//! there, [`mod@text`] writes the same for people and `nft -f`.

pub mod expression;
pub mod interval;
pub mod kernel;
pub mod lacking;
pub mod load;
pub mod lower;
pub mod program;
pub mod read_back;
pub mod text;

pub use load::{load, remove};
pub use lower::lower;
pub use program::Program;
pub use read_back::read_back;
pub use text::text;

/// The name of our table; nothing outside it is ever touched.
pub const TABLE: &str = "outrigger";
