//! A caller's connection: its socket, with the bytes given back that detection has read, and with the notes that are
//! needed to see a caller who never finishes a request's head, and to end a connection by a reset.

use crate::alarm::{self, Tick};
use bytes::{Buf, Bytes};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::{io, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is known of a connection outside of it. Used by one thread; atomic because hyper wants its IO to be `Send`.
#[derive(Debug, Default)]
pub struct Meter {
    /// Requests whose answer isn't complete.
    in_flight: AtomicU32,
    /// Since when a head is being received, as a tick plus one; 0: none is.
    head_since: AtomicU64,
    /// Since when nothing is in flight.
    idle_since: AtomicU64,
    /// When a byte went either way.
    last: AtomicU64,
    /// How long the silence of what is in flight may last, in milliseconds.
    patience: AtomicU64,
    reset: AtomicBool,
}

impl Meter {
    /// A request's head is complete.
    pub fn begin(&self) {
        self.head_since.store(0, Relaxed);
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, Relaxed);
    }

    /// An answer is complete, or given up.
    pub fn end(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed).saturating_sub(1), Relaxed);
        self.idle_since.store(alarm::now().as_millis(), Relaxed);
    }

    /// The connection will end by a reset, so that the caller can't take what it got so far for the whole.
    pub fn reset(&self) {
        self.reset.store(true, Relaxed);
    }

    /// For how long the caller has been sending one head.
    pub fn head_takes(&self) -> Option<Duration> {
        let since = self.head_since.load(Relaxed).checked_sub(1)?;
        Some(Tick::from_millis(since).elapsed())
    }

    /// For how long nothing has been in flight.
    pub fn idle(&self) -> Option<Duration> {
        (self.in_flight.load(Relaxed) == 0).then(|| Tick::from_millis(self.idle_since.load(Relaxed)).elapsed())
    }

    /// Something is in flight that may be silent for so long (`None`: for ever).
    pub fn has_patience(&self, silence: Option<Duration>) {
        let silence = silence.and_then(|silence| u64::try_from(silence.as_millis()).ok()).unwrap_or(u64::MAX);
        self.patience.fetch_max(silence, Relaxed);
    }

    /// Whether the caller takes nothing of what is in flight, for longer than its stream may be silent. Such a stream's own
    /// clock doesn't see that: nobody asks for its next bytes while the last ones can't be written.
    pub fn stuck(&self) -> bool {
        let silent = Tick::from_millis(self.last.load(Relaxed)).elapsed();
        let patience = Duration::from_millis(self.patience.load(Relaxed));
        self.in_flight.load(Relaxed) > 0 && !patience.is_zero() && silent > patience + SLACK
    }

    fn received(&self) {
        self.moved();
        if self.in_flight.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(alarm::now().as_millis() + 1, Relaxed);
        }
    }

    fn moved(&self) {
        self.last.store(alarm::now().as_millis(), Relaxed);
    }
}

/// The stream's own clock comes first, with an answer that says so.
const SLACK: Duration = Duration::from_secs(5);

/// A caller's connection.
#[derive(Debug)]
pub struct Io {
    stream: TcpStream,
    /// Read already, not yet given to whom it is for.
    prefix: Bytes,
    meter: Arc<Meter>,
}

impl Io {
    pub fn new(stream: TcpStream, prefix: Bytes, meter: &Arc<Meter>) -> Io {
        meter.idle_since.store(alarm::now().as_millis(), Relaxed);
        Io { stream, prefix, meter: Arc::clone(meter) }
    }

    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Gives back what somebody has read too much.
    pub fn unread(&mut self, bytes: Bytes) {
        debug_assert!(self.prefix.is_empty(), "who has read this has read what stood before it");
        self.prefix = bytes;
    }
}

impl Io {
    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(_))) {
            self.meter.moved();
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if self.meter.reset.load(Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = if self.prefix.is_empty() {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        } else {
            let length = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix[..length]);
            self.prefix.advance(length);
            Poll::Ready(Ok(()))
        };
        if buf.filled().len() > before {
            self.meter.received();
        }
        result
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_takes_nothing_is_stuck_once_its_patience_is_over() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build_local(Default::default()).unwrap();
        runtime.block_on(async {
            tokio::task::spawn_local(alarm::run());
            let _clock = alarm::Alarm::after(Duration::from_secs(3600));
            let meter = Meter::default();
            meter.begin();
            tokio::time::sleep(Duration::from_secs(600)).await;
            assert!(!meter.stuck(), "nothing was said of its patience");
            meter.has_patience(Some(Duration::from_secs(300)));
            assert!(meter.stuck());
            meter.moved();
            assert!(!meter.stuck());
            tokio::time::sleep(Duration::from_secs(310)).await;
            assert!(meter.stuck());
            meter.has_patience(None);
            assert!(!meter.stuck(), "a tunnel may be silent for ever");
            meter.end();
            assert_eq!(meter.idle().map(|idle| idle < Duration::from_secs(2)), Some(true));
        });
    }
}
