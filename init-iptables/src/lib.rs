//! Redirects a Pod's TCP connections into its proxy: [`rules`] decides what is captured, [`nft`] puts that into the
//! kernel and reads it back, [`proof`] shows with one connection per family that it works.
//!
//! ```text
//! Capture -> rules -> Ruleset -> nft::lower -> Program -> nft::load      -> kernel
//!                        |                        \------ nft::read_back <- kernel
//!                        \-----> nft::text (dry run)
//! ```
//!
//! What is deliberately absent: async, logging, command line crates, and any tool that is run: the binary is the only
//! file of its image. Other backends start from the same [`ruleset::Ruleset`].

pub mod address;
pub mod capability;
pub mod cli;
pub mod failure;
pub mod netlink;
pub mod nft;
pub mod proof;
pub mod route;
pub mod rules;
pub mod ruleset;
pub mod run;
pub mod settings;
