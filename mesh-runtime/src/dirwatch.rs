//! Tells when the content of a file changes that the kubelet, or a person, keeps in a directory.
//!
//! The *directory* is watched, never the file: the kubelet writes a new directory with a timestamp for a name and
//! renames the symlink `..data` over the old one, so the file that is being read never changes; a watch on it hears the
//! first rotation by accident and the second not at all. What was read is compared by hash. And because inotify has
//! limits that other programs can use up, and doesn't work on every file system, the file is read every few seconds
//! whatever the watch says.
//!
//! What the bytes mean is the receiver's business; so is keeping the last good ones.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecursiveMode, Watcher};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

/// A change that the watch missed shows after this time at the latest, unless the caller chooses otherwise.
pub const DEFAULT_POLL: Duration = Duration::from_secs(5);

/// A rotation is ten events; read once they have ended...
const QUIET: Duration = Duration::from_millis(50);
/// ... but a directory that is never quiet is read too.
const NEVER_QUIET: Duration = Duration::from_secs(1);

/// Ten times what a ConfigMap can hold; a wrong path must not fill the memory.
const SIZE_LIMIT: u64 = 16 * 1024 * 1024;

/// What became of the file. The first event comes at once and says what is there.
#[derive(Debug)]
pub enum Event {
    /// It has other content than before.
    Changed {
        /// All of it.
        bytes: Bytes,
        /// `sha256:` and their SHA-256 in lower-case hex, as `mesh_config::hash` writes it.
        hash: String,
    },
    /// It isn't there, or its directory isn't.
    Missing,
    /// It is there, but can't be read.
    Unreadable(io::Error),
}

/// Watches the file `name` in `directory`, from a task on the calling runtime; dropping the receiver ends it.
///
/// A slow receiver never gets old content twice: the file is read again once the event before was taken.
pub fn watch_file(directory: impl Into<PathBuf>, name: &str, poll: Duration) -> mpsc::Receiver<Event> {
    watch_with(directory.into(), name, poll, Box::new(inotify))
}

type MakeWatcher = Box<dyn Fn(Waker) -> notify::Result<Box<dyn Watcher + Send>> + Send>;

fn inotify(waker: Waker) -> notify::Result<Box<dyn Watcher + Send>> {
    Ok(Box::new(notify::recommended_watcher(waker)?))
}

fn watch_with(directory: PathBuf, name: &str, poll: Duration, make: MakeWatcher) -> mpsc::Receiver<Event> {
    let (events, receiver) = mpsc::channel(1);
    let waker = Waker { directory: directory.clone(), wake: Arc::default(), lost: Arc::default() };
    let file = directory.join(name);
    tokio::spawn(run(Eye { directory, file, waker, make, watching: None, failed: false }, poll, events));
    receiver
}

async fn run(mut eye: Eye, poll: Duration, events: mpsc::Sender<Event>) {
    let wake = Arc::clone(&eye.waker.wake);
    let mut last = None;
    loop {
        let look = move || {
            // Watching begins before reading, so nothing can happen in between unnoticed.
            eye.open();
            let content = eye.read();
            (eye, content)
        };
        // It fails only when the runtime ends.
        let Ok((back, content)) = tokio::task::spawn_blocking(look).await else { return };
        eye = back;
        let (state, event) = judge(content);
        if last.as_ref() != Some(&state) {
            last = Some(state);
            if events.send(event).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = events.closed() => return,
            () = sleep(poll) => {}
            () = wake.notified() => {
                let end = Instant::now() + NEVER_QUIET;
                while Instant::now() < end && timeout(QUIET, wake.notified()).await.is_ok() {}
            }
        }
    }
}

/// What two looks are compared by.
#[derive(PartialEq, Eq)]
enum State {
    Is(String),
    Missing,
    Unreadable(io::ErrorKind),
}

fn judge(content: io::Result<Vec<u8>>) -> (State, Event) {
    match content {
        Ok(bytes) => {
            let hash = hash(&bytes);
            (State::Is(hash.clone()), Event::Changed { bytes: bytes.into(), hash })
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            (State::Missing, Event::Missing)
        }
        Err(error) => (State::Unreadable(error.kind()), Event::Unreadable(error)),
    }
}

fn hash(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Looks at the file, and keeps a watch on whatever directory is at the path now.
struct Eye {
    directory: PathBuf,
    file: PathBuf,
    waker: Waker,
    make: MakeWatcher,
    watching: Option<(Box<dyn Watcher + Send>, Identity)>,
    /// So that a missing watch is said once, not at every look.
    failed: bool,
}

/// Device and inode: another directory at the same path has other ones (or the watch said that it lost the old one).
type Identity = (u64, u64);

impl Eye {
    fn open(&mut self) {
        let now = std::fs::metadata(&self.directory).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let lost = self.waker.lost.swap(false, Ordering::Relaxed);
        if !lost && self.watching.as_ref().map(|(_, identity)| *identity) == now {
            return;
        }
        self.watching = None;
        let Some(identity) = now else { return };
        match self.watch() {
            Ok(watcher) => {
                self.watching = Some((watcher, identity));
                self.failed = false;
            }
            Err(error) => {
                if !self.failed {
                    let directory = self.directory.display();
                    tracing::warn!(%directory, %error, "can't watch the directory; it is only looked at from time to time");
                }
                self.failed = true;
            }
        }
    }

    fn watch(&self) -> notify::Result<Box<dyn Watcher + Send>> {
        let mut watcher = (self.make)(self.waker.clone())?;
        watcher.watch(&self.directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.file)?.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > SIZE_LIMIT {
            let message = format!("{} has more than 16 MiB", self.file.display());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(bytes)
    }
}

/// Called from the watch's own thread. Any number of events is one wish to look again.
#[derive(Clone)]
struct Waker {
    directory: PathBuf,
    wake: Arc<Notify>,
    lost: Arc<AtomicBool>,
}

impl notify::EventHandler for Waker {
    fn handle_event(&mut self, event: notify::Result<notify::Event>) {
        if let Ok(event) = event {
            if is_reading(event.kind) {
                // Our own, for the most part: answering it would never end.
                return;
            }
            if is_leaving(event.kind) && event.paths.iter().any(|path| path == Path::new(&self.directory)) {
                self.lost.store(true, Ordering::Relaxed);
            }
        }
        self.wake.notify_one();
    }
}

fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn is_leaving(kind: EventKind) -> bool {
    matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}

#[cfg(test)]
mod tests;
