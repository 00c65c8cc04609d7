//! Connections of HTTP/2 to one destination, each with many requests. A second one is opened only when the destination
//! takes no more on the first.

use super::connect::connect;
use super::pool::{CONNECTION_WINDOW, IDLE, Key, MOST_HEAD, STREAM_WINDOW};
use crate::alarm::{self, Tick};
use crate::error::Error;
use crate::http::body::RequestBody;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use tokio::{net::TcpStream, sync::watch};

/// Requests at once on one connection, whatever the destination allows.
const MOST_STREAMS: usize = 1000;
/// Until the destination's SETTINGS have come (RFC 9113 6.5.2: not less is recommended).
const FIRST_STREAMS: usize = 100;

/// The connections that are open.
#[derive(Debug, Default)]
pub struct Multiplexed {
    open: RefCell<Vec<Rc<Shared>>>,
    /// One is being opened; those who wait for it hear how that ended.
    opening: RefCell<Option<Opening>>,
}

type Opening = watch::Receiver<Option<Result<(), Error>>>;

#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    /// Driven by its task; it alone knows how many streams the destination allows.
    connection: Rc<RefCell<Connection>>,
    streams: Cell<usize>,
    idle_since: Cell<Tick>,
    /// It must not be used for more.
    retired: Cell<bool>,
}

type Connection = Pin<Box<http2::Connection<TokioIo<TcpStream>, RequestBody, LocalExecutor>>>;

/// The right to one stream, which is counted.
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

    /// Nobody shall use this connection for more.
    pub fn retire(&self) {
        self.0.retired.set(true);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.idle_since.set(alarm::now());
    }
}

impl Shared {
    fn is_good(&self) -> bool {
        !self.retired.get() && !self.sender.is_closed()
    }

    fn has_room(&self) -> bool {
        let allowed = || self.connection.borrow().current_max_send_streams().clamp(1, MOST_STREAMS);
        self.streams.get() == 0 || self.streams.get() < allowed()
    }
}

impl Multiplexed {
    /// A stream, on a new connection if there is none or all are full. With `fresh`, those that are open are left to
    /// others: they lead to where the last try failed.
    pub async fn stream(self: &Rc<Self>, key: Key, fresh: bool) -> Result<Stream, Error> {
        if fresh {
            return Ok(Stream::new(&self.open(key).await?));
        }
        loop {
            self.open.borrow_mut().retain(|shared| shared.is_good());
            if let Some(shared) = self.open.borrow().iter().find(|shared| shared.has_room()) {
                return Ok(Stream::new(shared));
            }
            let mut opening = self.opening.borrow_mut().get_or_insert_with(|| self.open_for_all(key)).clone();
            let Ok(outcome) = opening.wait_for(Option::is_some).await.map(|outcome| outcome.unwrap_or(Ok(()))) else {
                // the opening task died: the next one tries anew
                *self.opening.borrow_mut() = None;
                return Err(Error::Internal);
            };
            outcome?;
        }
    }

    /// Opens one connection for all who wait, in a task of its own: whoever came first may go.
    fn open_for_all(self: &Rc<Self>, key: Key) -> Opening {
        let (done, opening) = watch::channel(None);
        let all = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let opened = all.open(key).await.map(drop);
            *all.opening.borrow_mut() = None;
            let _ = done.send(Some(opened));
        });
        opening
    }

    async fn open(&self, key: Key) -> Result<Rc<Shared>, Error> {
        let shared = handshake(connect(key.address, key.source).await?).await?;
        self.open.borrow_mut().push(Rc::clone(&shared));
        Ok(shared)
    }

    pub fn sweep(&self) {
        let idle = |shared: &Shared| shared.streams.get() == 0 && shared.idle_since.get().elapsed() >= IDLE;
        self.open.borrow_mut().retain(|shared| shared.is_good() && !idle(shared));
    }

    pub fn is_empty(&self) -> bool {
        self.open.borrow().is_empty() && self.opening.borrow().is_none()
    }
}

async fn handshake(stream: TcpStream) -> Result<Rc<Shared>, Error> {
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
