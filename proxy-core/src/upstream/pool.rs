//! One worker's connections to destinations that wait to be used again. Keyed by the address that they go to, since
//! nothing else distinguishes them; shared by all callers of this worker.
//!
//! HTTP/1: those that are idle, the last one used first, so that what isn't needed ages and goes. HTTP/2: those that are
//! open, each with many requests; a second one only when the first is full.
//!
//! Whether a connection is still good is known without asking: its own task reads it before it writes the next request,
//! and gives the request back unsent when the destination has closed.

use super::connect::{Source, connect};
use crate::alarm::{self, Tick};
use crate::error::Error;
use crate::http::body::RequestBody;
use http::Version;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::{future::poll_fn, pin::Pin, time::Duration};
use tokio::{net::TcpStream, sync::watch};

/// What makes two connections interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub address: SocketAddr,
    pub source: Source,
}

/// Idle connections that are kept for one destination; MeshPolicy's default for `connections.max`.
const MOST_IDLE: usize = 1024;
/// Below the idle time after which most servers close (Go and Apache aside: nginx 75 s, Envoy 1 h).
const IDLE: Duration = Duration::from_secs(60);
/// Requests at once on one HTTP/2 connection, whatever the destination allows.
const MOST_STREAMS: usize = 1000;
/// Until the destination's SETTINGS have come (RFC 9113 6.5.2: not less is recommended).
const FIRST_STREAMS: usize = 100;
/// Flow control: enough for 1 GB/s at a millisecond, and a bound for what a slow caller makes us hold.
pub const CONNECTION_WINDOW: u32 = 1024 * 1024;
pub const STREAM_WINDOW: u32 = 256 * 1024;
/// Of a message's head; Envoy's default is 60 KiB.
pub const MOST_HEAD: u32 = 64 * 1024;

#[derive(Debug, Default)]
pub struct Pool {
    slots: RefCell<HashMap<Key, Rc<Slot>>>,
}

/// The connections to one destination.
#[derive(Debug)]
pub struct Slot {
    key: Key,
    http1: RefCell<Vec<Idle>>,
    http2: RefCell<Multiplexed>,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Tick,
}

#[derive(Debug, Default)]
struct Multiplexed {
    open: Vec<Rc<Shared>>,
    /// One is being opened; those who wait for it hear how that ended.
    opening: Option<watch::Receiver<Option<Result<(), Error>>>>,
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub struct Shared {
    sender: http2::SendRequest<RequestBody>,
    /// Driven by its task; it alone knows how many streams the destination allows.
    connection: Rc<RefCell<Connection>>,
    streams: Cell<usize>,
    idle_since: Cell<Tick>,
    /// It must not be used for more.
    retired: Cell<bool>,
}

type Connection = Pin<Box<http2::Connection<TokioIo<TcpStream>, RequestBody, LocalExecutor>>>;

/// The right to use a connection. What is given back serves others; what is dropped is closed (HTTP/1).
#[derive(Debug)]
pub enum Lease {
    Http1(Rc<Slot>, http1::SendRequest<RequestBody>),
    Http2(Stream),
}

/// A stream of an HTTP/2 connection, counted.
#[derive(Debug)]
pub struct Stream(Rc<Shared>);

impl Stream {
    fn new(shared: &Rc<Shared>) -> Stream {
        shared.streams.set(shared.streams.get() + 1);
        Stream(Rc::clone(shared))
    }

    pub fn sender(&self) -> http2::SendRequest<RequestBody> {
        self.0.sender.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.idle_since.set(alarm::now());
    }
}

impl Lease {
    /// The answer is complete.
    pub fn give_back(self) {
        if let Lease::Http1(slot, sender) = self {
            slot.put(sender);
        }
    }

    /// What is behind the connection couldn't deliver: nobody shall use it again.
    pub fn retire(self) {
        if let Lease::Http2(stream) = self {
            stream.0.retired.set(true);
        }
    }
}

impl Pool {
    /// Where connections to a destination are kept. Whoever sends many requests there should hold it.
    pub fn slot(&self, key: Key) -> Rc<Slot> {
        let slot = || Rc::new(Slot { key, http1: RefCell::default(), http2: RefCell::default() });
        Rc::clone(self.slots.borrow_mut().entry(key).or_insert_with(slot))
    }

    /// Closes what has been idle for long; to be called now and then.
    pub fn sweep(&self) {
        self.slots.borrow_mut().retain(|_, slot| {
            slot.sweep();
            Rc::strong_count(slot) > 1 || !slot.is_empty()
        });
    }

    /// How many connections of HTTP/1 wait to be used again.
    pub fn idle(&self) -> usize {
        self.slots.borrow().values().map(|slot| slot.http1.borrow().len()).sum()
    }
}

impl Slot {
    pub fn key(&self) -> Key {
        self.key
    }

    /// An idle connection of HTTP/1 that is good as far as known.
    pub fn take(&self) -> Option<http1::SendRequest<RequestBody>> {
        let mut idle = self.http1.borrow_mut();
        while let Some(last) = idle.pop() {
            // one that isn't ready is closed, or still has to do with what it was given back from
            if last.sender.is_ready() {
                return Some(last.sender);
            }
        }
        None
    }

    fn put(&self, sender: http1::SendRequest<RequestBody>) {
        let mut idle = self.http1.borrow_mut();
        if !sender.is_closed() && idle.len() < MOST_IDLE {
            idle.push(Idle { sender, since: alarm::now() });
        }
    }

    /// A new connection of HTTP/1.
    pub async fn open_http1(&self) -> Result<http1::SendRequest<RequestBody>, Error> {
        handshake_http1(connect(self.key.address, self.key.source).await?).await
    }

    /// Takes a connection that was opened to see whether its destination speaks first.
    pub async fn adopt(&self, version: Version, opened: Option<TcpStream>) {
        if let Some(stream) = opened
            && version != Version::HTTP_2
            && let Ok(mut sender) = handshake_http1(stream).await
            && sender.ready().await.is_ok()
        {
            self.put(sender);
        }
    }

    /// A stream on a connection of HTTP/2, opened if there is none or all are full. With `fresh`, those that are open are
    /// left to others: they lead to where the last try failed.
    pub async fn stream(self: &Rc<Self>, fresh: bool) -> Result<Stream, Error> {
        if fresh {
            return Ok(Stream::new(&self.open_http2().await?));
        }
        loop {
            let mut opening = {
                let pool = &mut *self.http2.borrow_mut();
                pool.open.retain(|shared| shared.is_good());
                if let Some(shared) = pool.open.iter().find(|shared| shared.has_room()) {
                    return Ok(Stream::new(shared));
                }
                pool.opening.get_or_insert_with(|| self.open_for_all()).clone()
            };
            let Ok(outcome) = opening.wait_for(Option::is_some).await.map(|outcome| outcome.unwrap_or(Ok(()))) else {
                // the opening task died: the next one tries anew
                self.http2.borrow_mut().opening = None;
                return Err(Error::Internal);
            };
            outcome?;
        }
    }

    /// Opens one connection for all who wait, in a task of its own: whoever came first may go.
    fn open_for_all(self: &Rc<Self>) -> watch::Receiver<Option<Result<(), Error>>> {
        let (done, opening) = watch::channel(None);
        let slot = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let opened = slot.open_http2().await.map(drop);
            slot.http2.borrow_mut().opening = None;
            let _ = done.send(Some(opened));
        });
        opening
    }

    async fn open_http2(&self) -> Result<Rc<Shared>, Error> {
        let shared = handshake_http2(connect(self.key.address, self.key.source).await?).await?;
        self.http2.borrow_mut().open.push(Rc::clone(&shared));
        Ok(shared)
    }

    fn sweep(&self) {
        let mut idle = self.http1.borrow_mut();
        // the oldest stand first
        let stale = idle.iter().take_while(|idle| idle.since.elapsed() >= IDLE).count();
        idle.drain(..stale);
        idle.retain(|idle| !idle.sender.is_closed());
        self.http2.borrow_mut().open.retain(|shared| {
            shared.is_good() && (shared.streams.get() > 0 || shared.idle_since.get().elapsed() < IDLE)
        });
    }

    fn is_empty(&self) -> bool {
        let http2 = self.http2.borrow();
        self.http1.borrow().is_empty() && http2.open.is_empty() && http2.opening.is_none()
    }
}

impl Shared {
    fn has_room(&self) -> bool {
        let allowed = || self.connection.borrow().current_max_send_streams().clamp(1, MOST_STREAMS);
        self.streams.get() == 0 || self.streams.get() < allowed()
    }

    fn is_good(&self) -> bool {
        !self.retired.get() && !self.sender.is_closed()
    }
}

async fn handshake_http1(stream: TcpStream) -> Result<http1::SendRequest<RequestBody>, Error> {
    let mut builder = http1::Builder::new();
    builder.max_header_size(MOST_HEAD as usize);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|_| Error::ConnectFailed)?;
    // how it ends, its last request hears
    tokio::task::spawn_local(async move { drop(connection.with_upgrades().await) });
    Ok(sender)
}

async fn handshake_http2(stream: TcpStream) -> Result<Rc<Shared>, Error> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_max_send_streams(FIRST_STREAMS)
        .max_header_list_size(MOST_HEAD);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|_| Error::ConnectReset)?;
    let connection = Rc::new(RefCell::new(Box::pin(connection)));
    let driven = Rc::clone(&connection);
    tokio::task::spawn_local(poll_fn(move |cx| driven.borrow_mut().as_mut().poll(cx).map(drop)));
    let idle_since = Cell::new(alarm::now());
    Ok(Rc::new(Shared { sender, connection, streams: Cell::new(0), idle_since, retired: Cell::new(false) }))
}

/// hyper's tasks of HTTP/2 stay on their thread.
#[derive(Clone, Copy, Debug)]
pub struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move { drop(task.await) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn idle_connections_are_closed_after_a_while_and_the_last_used_is_used_first() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build_local(Default::default()).unwrap();
        runtime.block_on(async {
            tokio::task::spawn_local(alarm::run());
            let _clock = alarm::Alarm::after(Duration::from_secs(3600));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let key = Key { address: listener.local_addr().unwrap(), source: Source::Any };
            let pool = Pool::default();
            let slot = pool.slot(key);
            let mut servers = Vec::new();
            for _ in 0..3 {
                let opened = TcpStream::connect(key.address).await.unwrap();
                slot.adopt(Version::HTTP_11, Some(opened)).await;
                servers.push(listener.accept().await.unwrap().0);
                tokio::time::sleep(IDLE / 2).await;
            }
            assert_eq!(pool.idle(), 3);
            // the time is coarse
            tokio::time::sleep(Duration::from_secs(2)).await;
            pool.sweep();
            assert_eq!(pool.idle(), 1, "the two older ones are gone");
            servers.pop();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(slot.take().is_none(), "its server has closed it");
            drop(slot);
            pool.sweep();
            assert!(pool.slots.borrow().is_empty(), "nobody needs it any more");
        });
    }
}
