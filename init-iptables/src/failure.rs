//! Everything that can end the program early, with its exit code and what to do about it, in one table.

use crate::capability::NoCapability;
use crate::nft::lacking::Lacking;
use crate::nft::load::NotLoaded;
use crate::proof::NotProven;
use mesh_config::Problems;
use std::io;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(
        "bad settings:\n{}\nIn a Pod each comes from the annotation of that name (outrigger.dev/...) on the Pod or its \
         namespace, or from mesh.yaml: change it there, and make the Pod anew. Nothing was applied.",
        lines(.0)
    )]
    Settings(Problems),
    #[error("could not apply: {0}")]
    NoCapability(#[from] NoCapability),
    #[error("could not apply: {lacking}. (Refused: {refused})")]
    Lacking { lacking: Lacking, refused: String },
    #[error("could not apply: {error}. {}", hint(error))]
    NotLoaded { error: NotLoaded },
    #[error(
        "could not apply: the kernel's rules can't be read back: {0}. Try again; if it stays, look at \
         `nft list table inet outrigger`"
    )]
    NotRead(io::Error),
    #[error(
        "could not apply: ::6/128 can't be put on lo: {0}. Enable IPv6 on it (sysctl net.ipv6.conf.lo.disable_ipv6=0), \
         or disable IPv6 on the Pod's other interfaces as well"
    )]
    Address(io::Error),
    #[error("could not look up a route: {0}. Allow netlink sockets (AF_NETLINK, NETLINK_ROUTE) in the seccomp profile")]
    Route(io::Error),
    #[error("not in place: there is no table `outrigger` here. Run outrigger-init without a flag")]
    NoTable,
    #[error(
        "not in place: there is no ::6/128 on lo, but another interface has IPv6. Run outrigger-init without a flag"
    )]
    NoAddress,
    #[error(
        "applied, but what the kernel holds differs from what these settings mean:\n{}\nSomething else changes the \
         table `outrigger`: find it (`nft monitor`), stop it, and run outrigger-init again.",
        .0.join("\n")
    )]
    Differs(Vec<String>),
    #[error("applied, but not effective: {0}")]
    NotProven(#[from] NotProven),
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::NoCapability(_)
            | Failure::NotLoaded { .. }
            | Failure::NotRead(_)
            | Failure::Address(_)
            | Failure::Route(_) => 1,
            Failure::NoTable | Failure::NoAddress | Failure::Differs(_) | Failure::NotProven(_) => 2,
            Failure::Lacking { .. } => 3,
            // EX_USAGE of sysexits.h
            Failure::Usage(_) | Failure::Settings(_) => 64,
        }
    }
}

impl From<NotLoaded> for Failure {
    fn from(error: NotLoaded) -> Self {
        let lacking = match &error {
            NotLoaded::Netlink(_) => None,
            NotLoaded::Refused { step, refused } => crate::nft::lacking::of_step(step, refused.errno),
        };
        match lacking {
            Some(lacking) => Failure::Lacking { lacking, refused: error.to_string() },
            None => Failure::NotLoaded { error },
        }
    }
}

fn hint(error: &NotLoaded) -> &'static str {
    let errno = match error {
        NotLoaded::Netlink(error) => error.raw_os_error(),
        NotLoaded::Refused { refused, .. } => Some(refused.errno),
    };
    match errno {
        Some(libc::EPERM) => {
            "NET_ADMIN must hold in the user namespace that owns this network namespace; or another program owns the \
             table `outrigger`: stop it"
        }
        Some(libc::ENOMEM | libc::ENOBUFS | libc::EMSGSIZE) => {
            "Raise the container's memory limit, or shorten the lists of networks"
        }
        _ => {
            "Nothing was changed. Run `outrigger-init --dry-run` with the same settings and load its output with \
             `nft -f` to see more"
        }
    }
}

fn lines(problems: &Problems) -> String {
    problems.0.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Refused;
    use crate::nft::load::Step;

    #[test]
    fn a_refused_frame_is_a_failure_to_apply_unless_the_kernel_lacks_something() {
        let refused = |errno| Refused { errno, words: None };
        let chain = Step::Chain { name: "output".into(), hooked: true };
        let failure = Failure::from(NotLoaded::Refused { step: chain.clone(), refused: refused(libc::ENOENT) });
        assert_eq!(failure.exit_code(), 3);
        assert!(failure.to_string().contains("modprobe nft_chain_nat"), "{failure}");
        let failure = Failure::from(NotLoaded::Refused { step: chain, refused: refused(libc::EPERM) });
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.to_string().starts_with("could not apply: chain output: Operation not permitted"), "{failure}");
    }

    #[test]
    fn bad_settings_stand_on_a_line_each() {
        let mut problems = Problems::default();
        problems.add("A", "'x' is bad; write y");
        problems.add("B", "'z' is bad; write y");
        let failure = Failure::Settings(problems);
        assert_eq!(failure.exit_code(), 64);
        assert!(failure.to_string().starts_with("bad settings:\n  A: 'x' is bad; write y\n  B: 'z' is bad; write y\n"));
    }
}
