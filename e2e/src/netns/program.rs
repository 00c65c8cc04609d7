//! Programs that run in a namespace as somebody who isn't root: in the background with their output kept, or to their
//! end. They are killed when their value is dropped, and when the test's thread dies.

use super::Namespace;
use super::packet::become_user;
use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// For whatever is awaited: two busy cores, and a debug build.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(3);

/// Waits until `look` finds something; `what` is said if it never does, with what `look` failed with last.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = look();
        if let Ok(Some(found)) = found {
            return Ok(found);
        }
        if Instant::now() > end {
            return match found {
                Ok(_) => bail!("{what}: not within {PATIENCE:?}"),
                Err(error) => Err(error.context(format!("{what}: not within {PATIENCE:?}"))),
            };
        }
        std::thread::sleep(LOOK);
    }
}

/// A tool of the machine.
pub fn tool(namespace: &Namespace, uid: u32, gid: u32, program: &str) -> Command {
    let mut command = namespace.command(program);
    // SAFETY: system calls alone; nothing is allocated between fork and exec unless one fails
    unsafe { command.pre_exec(move || confine(uid, gid)) };
    command
}

/// A program of the workspace, which may stand where its user has no way to.
pub fn binary(namespace: &Namespace, uid: u32, gid: u32, path: &Path) -> Result<Command> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut command = tool(namespace, uid, gid, &format!("/proc/self/fd/{}", file.as_raw_fd()));
    command.arg0(path.file_name().unwrap_or_default());
    let keep_open = move || {
        let _ = &file;
        Ok(())
    };
    // SAFETY: nothing is done; the closure keeps the descriptor open as long as the command may be started
    unsafe { command.pre_exec(keep_open) };
    Ok(command)
}

/// A connection by such a user, maybe from an address of choice; an error is the kernel's own.
pub fn connect(
    namespace: &Namespace,
    uid: u32,
    gid: u32,
    source: Option<IpAddr>,
    to: SocketAddr,
) -> std::io::Result<TcpStream> {
    let connect = || {
        become_user(uid, gid).map_err(std::io::Error::other)?;
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.connect_timeout(&to.into(), PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(TcpStream::from(socket))
    };
    // the thread ends with the user that it became; the socket goes on belonging to that user
    namespace.run(connect).map_err(std::io::Error::other)?
}

fn confine(uid: u32, gid: u32) -> std::io::Result<()> {
    become_user(uid, gid).map_err(std::io::Error::other)?;
    // behind the change of user, which clears it
    // SAFETY: no pointers
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// A program in the background.
pub struct Program {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Program {
    pub fn start(command: &mut Command) -> Result<Program> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let stdout = Lines::read(child.stdout.take().context("it is piped")?);
        let stderr = Lines::read(child.stderr.take().context("it is piped")?);
        Ok(Program { child, stdout, stderr })
    }

    /// Starts a server and waits until it has said that it listens.
    pub fn serve(command: &mut Command) -> Result<Program> {
        let mut program = Program::start(command)?;
        until("a server that says that it listens", || {
            ensure!(program.is_running()?, "it ended: {}", program.stderr().join("\n"));
            Ok(program.stdout().iter().any(|line| line.contains("listens on")).then_some(()))
        })?;
        Ok(program)
    }

    /// Lines so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.get()
    }

    pub fn stderr(&self) -> Vec<String> {
        self.stderr.get()
    }

    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.kill();
        self.stdout.finish();
        self.stderr.finish();
    }
}

/// The whole lines that a pipe has given so far.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Lines {
    fn read(pipe: impl Read + Send + 'static) -> Lines {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let into = Arc::clone(&lines);
        let thread = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let line = line.unwrap_or_else(|error| format!("unreadable: {error}"));
                into.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Lines { lines, thread: Some(thread) }
    }

    fn get(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn finish(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
