//! Which part of nf_tables a kernel lacks, by what it refused. Kernels load these modules by themselves where they have
//! them, so a refusal means: not built, or not loadable from here.
//!
//! No kernel here lacks one of them, so only this table is tested, not a kernel without.

use super::load::Step;
use std::io;

/// A part of the kernel, as people look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the kernel lacks {what}: load the module on the node (`modprobe {module}`), or use a node whose kernel is Linux \
     5.10 or newer with {option}"
)]
pub struct Lacking {
    pub what: &'static str,
    pub module: &'static str,
    pub option: &'static str,
}

const NFNETLINK: Lacking =
    Lacking { what: "netfilter's netlink interface", module: "nfnetlink", option: "CONFIG_NETFILTER_NETLINK" };
const NF_TABLES: Lacking = Lacking { what: "nf_tables", module: "nf_tables", option: "CONFIG_NF_TABLES" };
const INET: Lacking = Lacking {
    what: "nf_tables for both families together",
    module: "nf_tables",
    option: "CONFIG_NF_TABLES_INET and CONFIG_IPV6",
};
const NAT: Lacking = Lacking { what: "NAT chains for nf_tables", module: "nft_chain_nat", option: "CONFIG_NFT_NAT" };
const REDIRECT: Lacking = Lacking { what: "redirects for nf_tables", module: "nft_redir", option: "CONFIG_NFT_REDIR" };
const INTERVALS: Lacking =
    Lacking { what: "sets of ranges for nf_tables", module: "nft_set_rbtree", option: "CONFIG_NF_TABLES" };

/// The socket itself was refused.
pub fn of_socket(error: &io::Error) -> Option<Lacking> {
    matches!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT)).then_some(NFNETLINK)
}

/// A frame was refused.
pub fn of_step(step: &Step, errno: i32) -> Option<Lacking> {
    match (step, errno) {
        (Step::Batch, libc::EOPNOTSUPP) => Some(NF_TABLES),
        (Step::Table, libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => Some(INET),
        (Step::Chain { hooked: true, .. }, libc::ENOENT | libc::EOPNOTSUPP) => Some(NAT),
        (Step::Rule { redirects: true, .. }, libc::ENOENT | libc::EOPNOTSUPP) => Some(REDIRECT),
        (Step::Set(_), libc::EOPNOTSUPP | libc::ENOENT) => Some(INTERVALS),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_follows_from_what_was_refused() {
        let chain = |hooked| Step::Chain { name: "c".into(), hooked };
        let rule = |redirects| Step::Rule { chain: "c".into(), number: 1, redirects };
        for (step, errno, want) in [
            (Step::Batch, libc::EOPNOTSUPP, Some(NF_TABLES)),
            (Step::Batch, libc::EPERM, None),
            (Step::Table, libc::EAFNOSUPPORT, Some(INET)),
            (chain(true), libc::ENOENT, Some(NAT)),
            (chain(false), libc::ENOENT, None),
            (rule(true), libc::ENOENT, Some(REDIRECT)),
            (rule(false), libc::ENOENT, None),
            (rule(true), libc::ENOMEM, None),
            (Step::Set("s".into()), libc::EOPNOTSUPP, Some(INTERVALS)),
            (Step::Elements("s".into()), libc::EEXIST, None),
        ] {
            assert_eq!(of_step(&step, errno), want, "{step:?} {errno}");
        }
        assert_eq!(of_socket(&io::Error::from_raw_os_error(libc::EPROTONOSUPPORT)), Some(NFNETLINK));
        assert_eq!(of_socket(&io::Error::from_raw_os_error(libc::EMFILE)), None);
    }

    #[test]
    fn the_message_names_the_module() {
        assert!(REDIRECT.to_string().contains("`modprobe nft_redir`"));
    }
}
