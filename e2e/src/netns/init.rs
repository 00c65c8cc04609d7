//! Runs the real `outrigger-init` in a namespace, as a container runtime would: as root, or as 65534 with just what an
//! injected Pod grants.

use super::Namespace;
use anyhow::{Context, Result, ensure};
use mesh_config::{Capture, Settings, names::INIT_UID};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// How the container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// `init.runAsRoot`
    Root,
    /// As injected: 65534, NET_ADMIN granted and nothing else, no_new_privs, a file capability on the binary.
    Injected,
    /// The same without the grant.
    NotGranted,
    /// The same without the file capability: an image store lost it.
    LostFileCapability,
}

/// What a run said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Two copies of the binary where everybody can reach them, one with the file capability; they go with this value.
pub struct Init {
    directory: PathBuf,
    plain: PathBuf,
    capable: PathBuf,
}

const CAP_NET_ADMIN: u32 = 12;
/// The highest capability of current kernels is 40; dropping what isn't there is refused and does no harm.
const CAP_LIMIT: libc::c_ulong = 64;
const VERSION_3: u32 = 0x2008_0522;

impl Init {
    /// In `OUTRIGGER_BIN_DIR`, or beside the test programs.
    pub fn find() -> Result<Self> {
        let binary = find_binary("outrigger-init", "init-iptables")?;
        static COPIES: AtomicU32 = AtomicU32::new(0);
        let name = format!("outrigger-netns-{}-{}", std::process::id(), COPIES.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
        let init = Init { plain: directory.join("plain"), capable: directory.join("capable"), directory };
        for copy in [&init.plain, &init.capable] {
            // not std::fs::copy: a program that another test starts meanwhile would hold our copy open for writing
            let copied = Command::new("cp").arg(&binary).arg(copy).status()?;
            ensure!(copied.success(), "cp {} {}", binary.display(), copy.display());
        }
        set_file_capability(&init.capable)?;
        Ok(init)
    }

    /// Applies, as injected; anything but success is an error.
    pub fn apply(&self, namespace: &Namespace, capture: &Capture) -> Result<Outcome> {
        let outcome = self.run(namespace, Privilege::Injected, capture, &[])?;
        ensure!(outcome.code == Some(0), "outrigger-init failed: {outcome:?}");
        Ok(outcome)
    }

    pub fn run(&self, namespace: &Namespace, who: Privilege, capture: &Capture, flags: &[&str]) -> Result<Outcome> {
        let env = Settings { capture: capture.clone(), ..Settings::default() }.capture_env();
        self.run_with(namespace, who, &env, flags)
    }

    /// With an environment that no injector would write.
    pub fn run_with(
        &self,
        namespace: &Namespace,
        who: Privilege,
        env: &BTreeMap<&str, String>,
        flags: &[&str],
    ) -> Result<Outcome> {
        let program = match who {
            Privilege::Root | Privilege::LostFileCapability => &self.plain,
            Privilege::Injected | Privilege::NotGranted => &self.capable,
        };
        let mut command = namespace.command(program);
        command.args(flags).env_clear().envs(env).current_dir("/").stdin(Stdio::null());
        if who != Privilege::Root {
            let granted = who != Privilege::NotGranted;
            // SAFETY: system calls alone, on values of the closure; nothing is allocated between fork and exec
            unsafe { command.pre_exec(move || confine(granted)) };
        }
        let output = command.output().with_context(|| format!("{command:?}"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A program of the workspace.
pub fn find_binary(name: &str, package: &str) -> Result<PathBuf> {
    let directory = match std::env::var_os("OUTRIGGER_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        // target/debug/deps/netns_capture-… stands two below
        None => {
            let own = std::env::current_exe()?;
            own.ancestors().nth(2).context("the test program stands in no directory")?.to_owned()
        }
    };
    let path = directory.join(name);
    ensure!(
        path.is_file(),
        "there is no {}: build it (`cargo build -p {package}`), or say where it is with OUTRIGGER_BIN_DIR",
        path.display()
    );
    Ok(path)
}

/// `cap_net_admin+p` as setcap(8) writes it: `struct vfs_cap_data` of revision 2, without the effective bit.
fn set_file_capability(path: &std::path::Path) -> Result<()> {
    const VFS_CAP_REVISION_2: u32 = 0x0200_0000;
    let words = [VFS_CAP_REVISION_2, 1 << CAP_NET_ADMIN, 0, 0, 0];
    let data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: name and path end with NUL; pointer and length describe `data`
    let done =
        unsafe { libc::setxattr(path.as_ptr(), c"security.capability".as_ptr(), data.as_ptr().cast(), data.len(), 0) };
    ensure!(done == 0, "can't set a file capability: {}", std::io::Error::last_os_error());
    Ok(())
}

/// What runc does before it executes a container's program: bounding set, user, capabilities, no_new_privs.
fn confine(granted: bool) -> std::io::Result<()> {
    let keep = if granted { 1u32 << CAP_NET_ADMIN } else { 0 };
    let header = [VERSION_3, 0];
    // effective, permitted, inheritable; the second word's are none
    let words = [keep, keep, 0, 0, 0, 0];
    let ok = |result: libc::c_long| if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    // SAFETY: header and words are as version 3 says and outlive the call; the list of groups is empty
    unsafe {
        for capability in (0..CAP_LIMIT).filter(|one| !granted || *one != libc::c_ulong::from(CAP_NET_ADMIN)) {
            libc::prctl(libc::PR_CAPBSET_DROP, capability);
        }
        ok(libc::prctl(libc::PR_SET_KEEPCAPS, 1).into())?;
        ok(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()))?;
        ok(libc::syscall(libc::SYS_setresgid, INIT_UID, INIT_UID, INIT_UID))?;
        ok(libc::syscall(libc::SYS_setresuid, INIT_UID, INIT_UID, INIT_UID))?;
        ok(libc::syscall(libc::SYS_capset, header.as_ptr(), words.as_ptr()))?;
        ok(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())
    }
}
