//! From `accept` to the beginning of a connection's life: which worker serves it, and whether it is served at all.

use crate::addr;
use crate::downstream::Downstream;
use crate::drain::Load;
use crate::error::Error;
use crate::listen::{self, Backoff, Seldom};
use crate::snapshot::Snapshot;
use crate::telemetry::{Direction, Exchange};
use crate::worker::{Shared, Worker};
use crate::{inbound, outbound};
use std::net::{self, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;

/// An accepted connection on its way to the worker that serves it.
#[derive(Debug)]
pub struct Handed {
    direction: Direction,
    stream: net::TcpStream,
    peer: SocketAddr,
    counted: Counted,
}

/// A connection in a worker's load.
#[derive(Debug)]
struct Counted {
    shared: Arc<Shared>,
    worker: usize,
}

impl Counted {
    fn new(shared: &Arc<Shared>, worker: usize) -> Counted {
        shared.loads[worker].connection_opened();
        Counted { shared: Arc::clone(shared), worker }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.loads[self.worker].connection_closed();
    }
}

/// Accepts for ever.
pub async fn accept(
    worker: Rc<Worker>,
    direction: Direction,
    listener: TcpListener,
    hands: Arc<[UnboundedSender<Handed>]>,
) {
    static FAILED: Seldom = Seldom::new();
    let mut backoff = Backoff::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                backoff.accepted();
                let peer = addr::canonical(peer);
                let to = idlest(&worker);
                let counted = Counted::new(&worker.shared, to);
                if to == worker.number {
                    serve(&worker, direction, stream, peer, counted);
                } else if let Ok(stream) = stream.into_std() {
                    // a worker that has ended closes it
                    let _ = hands[to].send(Handed { direction, stream, peer, counted });
                }
            }
            Err(error) => {
                if let Some(wait) = backoff.failed(&error) {
                    if let Some(left_out) = FAILED.now() {
                        tracing::error!(%error, left_out, "cannot accept connections; is the limit of open files reached?");
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// The worker with clearly fewer connections than this one, if there is one.
fn idlest(worker: &Worker) -> usize {
    let loads = worker.shared.loads.iter().map(Load::connections).enumerate();
    let own = worker.load().connections();
    // one connection more isn't worth the detour through another thread
    loads.min_by_key(|(_, load)| *load).filter(|(_, load)| load + 1 < own).map_or(worker.number, |(number, _)| number)
}

/// Takes what another worker has accepted.
pub fn take(worker: &Rc<Worker>, handed: Handed) {
    if let Ok(stream) = TcpStream::from_std(handed.stream) {
        serve(worker, handed.direction, stream, handed.peer, handed.counted);
    }
}

/// Begins a connection's life, in a task of its own.
fn serve(worker: &Rc<Worker>, direction: Direction, stream: TcpStream, peer: SocketAddr, counted: Counted) {
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        listen::tune(&stream);
        match admit(&worker, &stream, peer) {
            Ok((downstream, snapshot)) => match direction {
                Direction::Inbound => inbound::connection(stream, downstream, snapshot).await,
                Direction::Outbound => outbound::connection(stream, downstream, snapshot).await,
            },
            Err((original, error)) => refuse(&worker, direction, stream, peer, original, error),
        }
        drop(counted);
    });
}

/// What must hold before a connection is looked into: there is a configuration, and it doesn't lead back to us.
fn admit(
    worker: &Rc<Worker>,
    stream: &TcpStream,
    peer: SocketAddr,
) -> Result<(Rc<Downstream>, Arc<Snapshot>), (SocketAddr, Error)> {
    let original = worker.shared.original_dst.original_dst(stream, peer);
    // without an original destination nobody has redirected it: somebody has connected to this very port
    let original = original.map_err(|_| (stream.local_addr().unwrap_or(peer), Error::LoopGuard))?;
    listen::guard(original, &worker.shared.own_ports).map_err(|error| (original, error))?;
    let snapshot = worker.snapshot().ok_or((original, Error::NotReady))?;
    Ok((Rc::new(Downstream::new(Rc::clone(worker), peer, original)), snapshot))
}

fn refuse(
    worker: &Worker,
    direction: Direction,
    stream: TcpStream,
    peer: SocketAddr,
    original: SocketAddr,
    because: Error,
) {
    static REFUSED: Seldom = Seldom::new();
    if let Some(left_out) = REFUSED.now() {
        let direction = direction.as_str();
        tracing::warn!(direction, %peer, %original, left_out, "connection reset: {because}");
    }
    Exchange::opaque(&worker.telemetry, worker.refused(direction), peer, original).failed(because);
    listen::reset(stream);
}
