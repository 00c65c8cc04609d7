//! `CAP_NET_ADMIN`. The binary carries it as a file capability `+p`: permitted, not effective, so that it can start
//! without and say what is missing; here it is made effective. As root it is effective already. Nothing else is raised,
//! and it is never made ambient: no program is run.

use std::io::{Error, Result};

/// `CAP_NET_ADMIN` of `linux/capability.h`.
const CAP_NET_ADMIN: u32 = 12;
/// `_LINUX_CAPABILITY_VERSION_3`: two words of 32 capabilities.
const VERSION_3: u32 = 0x2008_0522;
const WORDS: usize = 2;
const BIT: u32 = 1 << CAP_NET_ADMIN;

/// `struct __user_cap_header_struct`
#[repr(C)]
struct Header {
    version: u32,
    process: libc::c_int,
}

/// `struct __user_cap_data_struct`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Why it can't be raised.
#[derive(Debug, thiserror::Error)]
pub enum NoCapability {
    #[error(
        "no capability NET_ADMIN, and this container can't have it: its securityContext must add it \
         (`capabilities: {{ drop: [ALL], add: [NET_ADMIN] }}`; injection writes that, so an admission policy or the \
         runtime took it away). If it is granted and this stays, the image store lost the binary's file capability: \
         set `init.runAsRoot: true` in mesh.yaml"
    )]
    NotGranted,
    #[error(
        "no capability NET_ADMIN for uid {uid}, although this container may have it: the image store lost the binary's \
         file capability (cap_net_admin+p): set `init.runAsRoot: true` in mesh.yaml, or use a store that keeps \
         extended attributes. If the runtime doesn't pass it on to users other than root, check that the container's \
         securityContext adds it: `capabilities: {{ drop: [ALL], add: [NET_ADMIN] }}`"
    )]
    NotHeld { uid: u32 },
    #[error("can't read or raise capabilities: {0}; allow the system calls capget and capset in the seccomp profile")]
    System(#[from] Error),
}

/// Makes it effective.
pub fn raise() -> std::result::Result<(), NoCapability> {
    let mut words = get()?;
    let word = &mut words[0];
    if word.effective & BIT != 0 {
        return Ok(());
    }
    if word.permitted & BIT == 0 {
        // SAFETY: no pointers; a process may always ask what it can still gain, and who it is
        let (can_gain, uid) =
            unsafe { (libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(CAP_NET_ADMIN)) == 1, libc::geteuid()) };
        return Err(if can_gain { NoCapability::NotHeld { uid } } else { NoCapability::NotGranted });
    }
    word.effective |= BIT;
    set(&words)?;
    Ok(())
}

fn get() -> Result<[Word; WORDS]> {
    let mut header = Header { version: VERSION_3, process: 0 };
    let mut words = [Word::default(); WORDS];
    // SAFETY: the kernel reads a header and writes two words, as version 3 says; both outlive the call
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    if done < 0 { Err(Error::last_os_error()) } else { Ok(words) }
}

fn set(words: &[Word; WORDS]) -> Result<()> {
    let mut header = Header { version: VERSION_3, process: 0 };
    // SAFETY: the kernel reads a header and two words, as version 3 says; both outlive the call
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
    if done < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_names_both_ways_out() {
        for error in [NoCapability::NotGranted, NoCapability::NotHeld { uid: 65534 }] {
            let text = error.to_string();
            assert!(text.contains("`init.runAsRoot: true` in mesh.yaml"), "{text}");
            assert!(text.contains("`capabilities: { drop: [ALL], add: [NET_ADMIN] }`"), "{text}");
        }
    }
}
