//! One worker's connections to destinations that wait to be used again. Keyed by the address that they go to, since
//! nothing else distinguishes them; shared by all callers of this worker.
//!
//! HTTP/1: those that are idle, the last one used first, so that what isn't needed ages and goes. HTTP/2:
//! [`multiplexed`](super::multiplexed).
//!
//! Whether a connection is still good is known without asking: its own task reads it before it writes the next request,
//! and gives the request back unsent when the destination has closed.

use super::connect::{Source, connect};
use super::multiplexed::{Multiplexed, Stream};
use crate::alarm::{self, Tick};
use crate::error::Error;
use crate::http::body::RequestBody;
use http::Version;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;

/// What makes two connections interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub address: SocketAddr,
    pub source: Source,
}

/// Idle connections that are kept for one destination; MeshPolicy's default for `connections.max`.
const MOST_IDLE: usize = 1024;
/// Shorter than what most servers keep theirs for (nginx 75 s, Go's and Envoy's for ever or an hour): who closes first
/// loses no request.
pub const IDLE: Duration = Duration::from_secs(60);
/// Flow control of HTTP/2: enough for 1 GB/s at a millisecond, and a bound for what a slow caller makes us hold.
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
    http2: Rc<Multiplexed>,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Tick,
}

/// The right to use a connection. What is given back serves others; what is dropped is closed (HTTP/1).
#[derive(Debug)]
pub enum Lease {
    Http1(Rc<Slot>, http1::SendRequest<RequestBody>),
    Http2(Stream),
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
            stream.retire();
        }
    }
}

impl Pool {
    /// Where connections to a destination are kept. Whoever sends many requests there should hold it.
    pub fn slot(&self, key: Key) -> Rc<Slot> {
        let slot = || Rc::new(Slot { key, http1: RefCell::default(), http2: Rc::default() });
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
        handshake(connect(self.key.address, self.key.source).await?).await
    }

    /// A stream of HTTP/2.
    pub async fn stream(&self, fresh: bool) -> Result<Stream, Error> {
        self.http2.stream(self.key, fresh).await
    }

    /// Takes a connection that was opened to see whether its destination speaks first.
    pub async fn adopt(&self, version: Version, opened: Option<TcpStream>) {
        if let Some(stream) = opened
            && version != Version::HTTP_2
            && let Ok(mut sender) = handshake(stream).await
            && sender.ready().await.is_ok()
        {
            self.put(sender);
        }
    }

    fn sweep(&self) {
        let mut idle = self.http1.borrow_mut();
        // the oldest stand first
        let stale = idle.iter().take_while(|idle| idle.since.elapsed() >= IDLE).count();
        idle.drain(..stale);
        idle.retain(|idle| !idle.sender.is_closed());
        self.http2.sweep();
    }

    fn is_empty(&self) -> bool {
        self.http1.borrow().is_empty() && self.http2.is_empty()
    }
}

async fn handshake(stream: TcpStream) -> Result<http1::SendRequest<RequestBody>, Error> {
    let mut builder = http1::Builder::new();
    builder.max_header_size(MOST_HEAD as usize);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|_| Error::ConnectFailed)?;
    // how it ends, its last request hears
    tokio::task::spawn_local(async move { drop(connection.with_upgrades().await) });
    Ok(sender)
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
