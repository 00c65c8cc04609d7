//! A request's body on its way to the destination, kept for another try as long as it fits the buffer limit.
//!
//! It is read only as fast as the connection that sends it takes it: keeping what was sent costs no waiting.

use crate::alarm::{self, Tick};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// A body that is sent again must be remembered; MeshPolicy's default for `bufferLimit`.
pub const BUFFER_LIMIT: usize = 32 * 1024;

/// A caller's body, of which each try gets a [`RequestBody`].
#[derive(Clone, Debug, Default)]
pub struct CallerBody {
    /// `None`: there is no body, which is the usual case and costs nothing.
    shared: Option<Rc<RefCell<Shared>>>,
}

#[derive(Debug)]
struct Shared {
    incoming: Incoming,
    /// What has been read, while it may be needed again.
    kept: Vec<Bytes>,
    kept_bytes: usize,
    trailers: Option<HeaderMap>,
    keeping: bool,
    /// Something that was read isn't there any more.
    lost: bool,
    ended: bool,
    /// The caller broke off.
    broken: bool,
    received: u64,
    /// Counts the tries: a body of an earlier one may still be held by a connection that has to do with it.
    current: u32,
    last: Tick,
}

impl CallerBody {
    pub fn new(incoming: Incoming) -> CallerBody {
        if incoming.is_end_stream() {
            return CallerBody::default();
        }
        let shared = Shared {
            incoming,
            kept: Vec::new(),
            kept_bytes: 0,
            trailers: None,
            keeping: true,
            lost: false,
            ended: false,
            broken: false,
            received: 0,
            current: 0,
            last: alarm::now(),
        };
        CallerBody { shared: Some(Rc::new(RefCell::new(shared))) }
    }

    /// The body for a new try; those of earlier tries end with an error.
    pub fn body(&self) -> RequestBody {
        let number = self.shared.as_ref().map_or(0, |shared| {
            let mut shared = shared.borrow_mut();
            shared.current += 1;
            shared.current
        });
        RequestBody { shared: self.shared.clone(), number, position: 0, ended: false }
    }

    /// Whether all that was read of it can be sent once more.
    pub fn replayable(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| !shared.borrow().lost)
    }

    /// The answer has begun: nothing needs to be remembered any more.
    pub fn settle(&self) {
        if let Some(shared) = &self.shared {
            shared.borrow_mut().keeping = false;
        }
    }

    /// Whether the caller broke off in the middle of it.
    pub fn broken(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.borrow().broken)
    }

    /// How much of it came.
    pub fn received(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.borrow().received)
    }

    /// When something of it came last.
    pub fn last(&self) -> Tick {
        self.shared.as_ref().map_or_else(Tick::default, |shared| shared.borrow().last)
    }
}

/// A caller's body as one try sends it.
#[derive(Debug)]
pub struct RequestBody {
    shared: Option<Rc<RefCell<Shared>>>,
    number: u32,
    /// In what was kept.
    position: usize,
    ended: bool,
}

/// Why a request's body couldn't be read on. The connection that was sending it is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error("the caller broke off: {0}")]
    Caller(#[from] hyper::Error),
    #[error("another try has taken over")]
    TakenOver,
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Stopped;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Stopped>>> {
        let this = self.get_mut();
        let Some(shared) = &this.shared else { return Poll::Ready(None) };
        let shared = &mut *shared.borrow_mut();
        if shared.current != this.number {
            return Poll::Ready(Some(Err(Stopped::TakenOver)));
        }
        if let Some(bytes) = shared.kept.get(this.position) {
            this.position += 1;
            let frame = Frame::data(bytes.clone());
            if !shared.keeping && this.position == shared.kept.len() {
                shared.kept = Vec::new();
                this.position = 0;
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        if shared.ended {
            let trailers = if this.ended { None } else { shared.trailers.clone() };
            this.ended = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(Pin::new(&mut shared.incoming).poll_frame(cx));
        shared.last = alarm::now();
        match &frame {
            Some(Ok(frame)) => {
                shared.keep(frame);
                this.position = shared.kept.len();
                shared.ended = frame.is_trailers();
            }
            Some(Err(_)) => shared.broken = true,
            None => shared.ended = true,
        }
        this.ended = shared.ended;
        Poll::Ready(frame.map(|frame| frame.map_err(Stopped::from)))
    }

    fn is_end_stream(&self) -> bool {
        let Some(shared) = &self.shared else { return true };
        let shared = shared.borrow();
        let all_sent = self.position == shared.kept.len() && (self.ended || shared.trailers.is_none());
        all_sent && (shared.ended || shared.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let Some(shared) = &self.shared else { return SizeHint::with_exact(0) };
        let shared = shared.borrow();
        let to_come = shared.kept.iter().skip(self.position).map(|bytes| bytes.len() as u64).sum::<u64>();
        let mut hint = shared.incoming.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + to_come);
        }
        hint.set_lower(hint.lower() + to_come);
        hint
    }
}

impl Shared {
    /// Remembers what was read, as long as there is room.
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(data) = frame.data_ref() else {
            if self.keeping {
                self.trailers = frame.trailers_ref().cloned();
            }
            return;
        };
        self.received += data.len() as u64;
        if self.keeping && self.kept_bytes + data.len() <= BUFFER_LIMIT {
            self.kept_bytes += data.len();
            self.kept.push(data.clone());
            return;
        }
        // what came before it is of no use without it
        self.lost = true;
        self.keeping = false;
        self.kept = Vec::new();
    }
}
