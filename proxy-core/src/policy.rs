//! Policies that judge a request or connection. All of them are pure: no `.await`, no sockets, no clock; they return
//! values, and whoever calls them records what came of it.

pub mod authz;
pub(crate) mod path;
