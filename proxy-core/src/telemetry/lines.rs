//! How access log lines leave the process: each worker appends to a buffer of its own, one thread swaps the buffers out
//! and writes them. A worker takes an uncontended lock and copies bytes; it never waits for whoever reads the log. When
//! nobody reads, a buffer fills up to a limit, and then lines are dropped and counted.

use prometheus_client::metrics::counter::Counter;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

/// Of one worker. At 250 bytes a line, 80 000 lines a second.
const LIMIT: usize = 1 << 20;

/// Lines are collected for this long before they are written: few writes under load, and well within the 100 ms that a
/// line may take to show.
const BATCH: Duration = Duration::from_millis(20);

/// The lines of all workers.
#[derive(Debug)]
pub(super) struct Lines {
    buffers: Mutex<Vec<Arc<Buffer>>>,
    shared: Arc<Shared>,
}

/// The lines of one worker.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Mutex<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dropped: Counter,
    writer: OnceLock<Thread>,
    stop: AtomicBool,
}

/// The thread that writes. Dropping it leaves the thread running; [`finish`](Self::finish) ends it with all lines
/// written.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
}

impl Lines {
    pub(super) fn new(dropped: Counter) -> Lines {
        let shared = Shared { dropped, writer: OnceLock::new(), stop: AtomicBool::new(false) };
        Lines { buffers: Mutex::default(), shared: Arc::new(shared) }
    }

    /// A buffer for one more worker.
    pub(super) fn buffer(&self) -> Arc<Buffer> {
        let buffer = Arc::new(Buffer { bytes: Mutex::default(), shared: Arc::clone(&self.shared) });
        lock(&self.buffers).push(Arc::clone(&buffer));
        buffer
    }

    /// Everything that waits.
    pub(super) fn take(&self) -> Vec<u8> {
        let mut all = Vec::new();
        self.swap_out(&mut Vec::new(), |bytes| all.extend_from_slice(bytes));
        all
    }

    /// Hands each buffer's content over, through `spare`: what two of them use is kept, so nothing is allocated in the
    /// long run.
    fn swap_out(&self, spare: &mut Vec<u8>, mut hand_over: impl FnMut(&[u8])) {
        let buffers = lock(&self.buffers).clone();
        for buffer in buffers {
            std::mem::swap(&mut *lock(&buffer.bytes), spare);
            if !spare.is_empty() {
                hand_over(spare);
                spare.clear();
            }
        }
    }

    pub(super) fn start(lines: &Arc<Self>, mut out: impl Write + Send + 'static) -> io::Result<Writer> {
        let shared = Arc::clone(&lines.shared);
        let lines = Arc::clone(lines);
        let thread = thread::Builder::new().name("access-log".into()).spawn(move || {
            let _ = lines.shared.writer.set(thread::current());
            let mut spare = Vec::new();
            loop {
                // what was buffered before this is read is written below
                let stop = lines.shared.stop.load(Ordering::Acquire);
                lines.swap_out(&mut spare, |bytes| {
                    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
                        lines.shared.dropped.inc_by(bytes.iter().filter(|byte| **byte == b'\n').count() as u64);
                    }
                });
                if stop {
                    return;
                }
                // woken by the first line of a buffer, or by the end; a wake-up in between isn't lost
                thread::park();
                if !lines.shared.stop.load(Ordering::Acquire) {
                    thread::sleep(BATCH);
                }
            }
        })?;
        Ok(Writer { thread, shared })
    }
}

impl Buffer {
    /// Appends what `line` writes. If that is over the limit, the line is dropped.
    pub(super) fn append(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let first = {
            let mut bytes = lock(&self.bytes);
            let before = bytes.len();
            line(&mut bytes);
            if bytes.len() > LIMIT {
                bytes.truncate(before);
                self.shared.dropped.inc();
                return;
            }
            before == 0
        };
        if first && let Some(writer) = self.shared.writer.get() {
            writer.unpark();
        }
    }
}

impl Writer {
    /// Writes what waits, and ends the thread.
    pub fn finish(self) {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // a panic there has been reported by its hook
        let _ = self.thread.join();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Hands on what is written, and fails when nobody listens any more.
    struct Pipe(mpsc::Sender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines() -> (Arc<Lines>, Counter) {
        let dropped = Counter::default();
        (Arc::new(Lines::new(dropped.clone())), dropped)
    }

    #[test]
    fn lines_of_all_workers_are_written_without_being_asked_for() {
        let (lines, dropped) = lines();
        let workers = [lines.buffer(), lines.buffer()];
        let (pipe, written) = mpsc::channel();
        workers[0].append(|bytes| bytes.extend(b"before\n"));
        let writer = Lines::start(&lines, Pipe(pipe)).unwrap();
        assert_eq!(written.recv().unwrap(), b"before\n");
        for _ in 0..3 {
            workers[1].append(|bytes| bytes.extend(b"after\n"));
            assert_eq!(written.recv().unwrap(), b"after\n");
        }
        workers[0].append(|bytes| bytes.extend(b"last\n"));
        writer.finish();
        assert_eq!(written.iter().collect::<Vec<_>>().concat(), b"last\n");
        assert_eq!(dropped.get(), 0);
    }

    #[test]
    fn what_nobody_takes_is_dropped_and_counted() {
        let (lines, dropped) = lines();
        let worker = lines.buffer();
        let line = [b'x'; LIMIT / 4];
        for _ in 0..6 {
            worker.append(|bytes| bytes.extend(line));
        }
        assert_eq!((dropped.get(), lines.take().len()), (2, LIMIT));
        worker.append(|bytes| bytes.extend(b"again\n"));
        assert_eq!(lines.take(), b"again\n");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (lines, dropped) = lines();
        let worker = lines.buffer();
        let (pipe, written) = mpsc::channel();
        drop(written);
        worker.append(|bytes| bytes.extend(b"one\ntwo\n"));
        Lines::start(&lines, Pipe(pipe)).unwrap().finish();
        assert_eq!(dropped.get(), 2);
    }
}
