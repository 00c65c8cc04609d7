//! One network namespace, held open by a descriptor: run code, tools and programs in it. Not `ip netns`, which hides
//! `/sys/fs/cgroup` and leaves names behind.

use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// It ends with the last of its descriptors and processes.
pub struct Namespace {
    fd: OwnedFd,
}

impl Namespace {
    /// A new one, in which not even `lo` is up.
    pub fn new() -> Result<Self> {
        // SAFETY: no pointers
        ensure!(unsafe { libc::geteuid() } == 0, "these tests make network namespaces: run them as root");
        // a thread of its own, which ends in the new namespace: nobody else's namespace changes
        let made = std::thread::spawn(|| {
            // SAFETY: no pointers; it concerns this thread alone
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(std::io::Error::last_os_error());
            }
            File::open("/proc/thread-self/ns/net")
        });
        let file = made.join().expect("the thread has nothing that panics");
        Ok(Namespace { fd: file.context("can't make a network namespace; CAP_SYS_ADMIN is needed")?.into() })
    }

    /// Where tools find it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// Runs `work` on a thread of its own in this namespace. Whatever else it changes of its thread ends with it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let work = || enter(self.fd.as_raw_fd()).map(|()| work());
        let done = std::thread::scope(|scope| scope.spawn(work).join());
        match done {
            Ok(done) => done.context("can't enter the network namespace"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A program that will run here.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let fd = self.fd.as_raw_fd();
        let mut command = Command::new(program);
        // SAFETY: setns is one system call, and the descriptor stays open in the child until it executes
        unsafe { command.pre_exec(move || enter(fd)) };
        command
    }

    /// A tool that must succeed; its output.
    pub fn tool(&self, words: &str) -> Result<String> {
        self.tool_with(words, "")
    }

    /// The same with something to read.
    pub fn tool_with(&self, words: &str, input: &str) -> Result<String> {
        let mut words = words.split_whitespace();
        let mut command = self.command(words.next().context("no tool")?);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("{command:?} can't be run; apt-get install iproute2 nftables"))?;
        child.stdin.take().expect("it is piped").write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{command:?}: {}: {}\n{input}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Sets `/proc/sys/net/<key>` of this namespace.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{key}");
        self.run(|| std::fs::write(&path, value))?.with_context(|| path.clone())
    }
}

fn enter(fd: i32) -> std::io::Result<()> {
    // SAFETY: no pointers; it concerns the calling thread alone
    if unsafe { libc::setns(fd, libc::CLONE_NEWNET) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
