//! What the end-to-end tests share. `tests/netns_*` run in network namespaces (root), `tests/cluster_*` on a real
//! cluster; each of them fails, never skips, where it can't run. Nothing of the product is here.

pub mod cluster;
pub mod netns;
