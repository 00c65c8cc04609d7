//! Opaque bytes between two connections, in both directions, until both have ended.
//!
//! Each side may close its direction by itself: the other side is told so and goes on. A side that breaks breaks the
//! other. Nothing is looked into, and nothing is buffered beyond what one side has sent and the other doesn't take yet:
//! the buffer that is read into belongs to the thread, so an idle connection has none.

use crate::io::Io;
use crate::telemetry::Exchange;
use crate::{alarm::Alarm, listen};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The first read of a direction; doubled as long as reads fill it, up to [`LARGEST_READ`].
const FIRST_READ: usize = 16 * 1024;
/// More brings nothing: measured, the cost of a system call is below 2 % of copying so many bytes.
const LARGEST_READ: usize = 256 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What can be copied to and from.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// One of its directions has ended, the other hasn't.
    fn half_closed(&self) {}
}

impl Stream for TcpStream {
    fn half_closed(&self) {
        listen::tune_half_closed(self);
    }
}

impl Stream for Io {
    fn half_closed(&self) {
        listen::tune_half_closed(self.stream());
    }
}

/// A stream of HTTP/2, or a connection whose type hyper has hidden.
impl Stream for TokioIo<hyper::upgrade::Upgraded> {}

#[cfg(test)]
impl Stream for tokio::io::DuplexStream {}

/// Who hears how many bytes went which way, as they go.
pub trait Count {
    /// From the caller to the destination.
    fn received(&mut self, bytes: u64);
    /// From the destination to the caller.
    fn sent(&mut self, bytes: u64);
}

impl Count for Exchange {
    fn received(&mut self, bytes: u64) {
        Exchange::received(self, bytes);
    }

    fn sent(&mut self, bytes: u64) {
        Exchange::sent(self, bytes);
    }
}

/// Why a copy ended before both sides had closed.
#[derive(Debug)]
pub enum Broken {
    Downstream(io::Error),
    Upstream(io::Error),
    /// Somebody said stop.
    Stopped,
}

/// Copies until both sides have closed. Each time that the thread's alarms are rung for all, `go_on` is asked.
pub async fn copy<D: Stream, U: Stream>(
    downstream: &mut D,
    upstream: &mut U,
    count: &mut impl Count,
    mut go_on: impl FnMut() -> bool,
) -> Result<(), Broken> {
    let (mut there, mut back) = (Half::default(), Half::default());
    let alarm = Alarm::new();
    let mut told = false;
    poll_fn(|cx| {
        while alarm.poll(cx).is_ready() {
            if !go_on() {
                return Poll::Ready(Err(Broken::Stopped));
            }
        }
        // the answer first: what a destination said before it broke must arrive
        let done_back =
            back.poll(cx, upstream, downstream, |bytes| count.sent(bytes)).map_err(|failed| match failed {
                Failed::Reading(error) => Broken::Upstream(error),
                Failed::Writing(error) => Broken::Downstream(error),
            })?;
        let done_there =
            there.poll(cx, downstream, upstream, |bytes| count.received(bytes)).map_err(|failed| match failed {
                Failed::Reading(error) => Broken::Downstream(error),
                Failed::Writing(error) => Broken::Upstream(error),
            })?;
        if done_back.is_ready() && done_there.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if (done_back.is_ready() || done_there.is_ready()) && !told {
            told = true;
            downstream.half_closed();
            upstream.half_closed();
        }
        Poll::Pending
    })
    .await
}

enum Failed {
    Reading(io::Error),
    Writing(io::Error),
}

/// One direction.
struct Half {
    /// Read, but not yet taken by the other side.
    left: Vec<u8>,
    taken: usize,
    read_size: usize,
    unflushed: bool,
    ended: bool,
    shut: bool,
}

impl Default for Half {
    fn default() -> Self {
        Half { left: Vec::new(), taken: 0, read_size: FIRST_READ, unflushed: false, ended: false, shut: false }
    }
}

impl Half {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        count: impl FnMut(u64),
    ) -> Result<Poll<()>, Failed> {
        match self.poll_all(cx, from, to, count) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(failed)) => Err(failed),
        }
    }

    fn poll_all(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        mut count: impl FnMut(u64),
    ) -> Poll<Result<(), Failed>> {
        loop {
            while self.taken < self.left.len() {
                let taken = Pin::new(&mut *to).poll_write(cx, &self.left[self.taken..]);
                self.taken += ready!(taken).and_then(not_zero).map_err(Failed::Writing)?;
            }
            self.left.clear();
            self.taken = 0;
            if self.ended {
                if !self.shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Failed::Writing)?;
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            if self.poll_pass_on(cx, from, to, &mut count)?.is_pending() {
                // nothing to read now: an idle connection holds no memory
                if self.left.is_empty() {
                    self.left = Vec::new();
                }
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Failed::Writing)?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }

    /// Reads once and writes it, both within the thread's buffer.
    fn poll_pass_on(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        count: &mut impl FnMut(u64),
    ) -> Result<Poll<()>, Failed> {
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < self.read_size {
                buffer.resize(self.read_size, 0);
            }
            let mut read = ReadBuf::new(&mut buffer[..self.read_size]);
            match Pin::new(from).poll_read(cx, &mut read) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(result) => result.map_err(Failed::Reading)?,
            }
            let read = read.filled();
            if read.is_empty() {
                self.ended = true;
                return Ok(Poll::Ready(()));
            }
            count(read.len() as u64);
            self.unflushed = true;
            let taken = match Pin::new(to).poll_write(cx, read) {
                Poll::Pending => 0,
                Poll::Ready(result) => result.and_then(not_zero).map_err(Failed::Writing)?,
            };
            self.left.extend_from_slice(&read[taken..]);
            self.read_size = match (taken == read.len(), read.len() == self.read_size) {
                (true, true) => (self.read_size * 2).min(LARGEST_READ),
                // what isn't taken must be copied once more: rather read less
                (false, _) => (self.read_size / 2).max(FIRST_READ),
                (true, false) => self.read_size,
            };
            Ok(Poll::Ready(()))
        })
    }
}

fn not_zero(written: usize) -> io::Result<usize> {
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

#[cfg(test)]
mod tests;
