//! The data plane as a whole: binds everything, then runs one thread per worker until it is told to stop.
//!
//! A worker is a single-threaded runtime with its own reactor, pool and counters. All workers accept from the same
//! listening sockets; a connection that would burden the busier one is handed to the idler one. Nothing here knows where
//! snapshots come from.

use crate::addr::{self, OriginalDst};
use crate::downstream::Downstream;
use crate::drain::{Load, Phase, Phases};
use crate::listen::{self, Backoff, Seldom};
use crate::snapshot::Snapshot;
use crate::telemetry::{Direction, Exchange, Telemetry};
use crate::worker::{Shared, Worker};
use crate::{alarm, error::Error, inbound, outbound};
use arc_swap::ArcSwapOption;
use std::net::{self, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::{io, thread, time::Duration};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// What the data plane is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners for what the Pod's own programs open. `[::]` means both families.
    pub outbound: Vec<SocketAddr>,
    /// Listeners for what is opened to the Pod.
    pub inbound: Vec<SocketAddr>,
    /// Threads; 0 is taken for 1.
    pub workers: usize,
    pub original_dst: Arc<dyn OriginalDst>,
    pub telemetry: Arc<Telemetry>,
}

/// Everything bound, nothing running.
#[derive(Debug)]
pub struct App {
    listeners: Vec<(Direction, net::TcpListener)>,
    addresses: Addresses,
    handle: Handle,
}

/// Where it really listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub outbound: Vec<SocketAddr>,
    pub inbound: Vec<SocketAddr>,
}

/// Steers the data plane from any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    /// Wakes the workers; the deadline once it stops.
    changed: Arc<watch::Sender<Option<Instant>>>,
}

/// The running workers.
#[derive(Debug)]
pub struct Running {
    threads: Vec<thread::JoinHandle<()>>,
    ended: mpsc::Receiver<()>,
}

impl App {
    /// Binds all listeners, or none.
    pub fn bind(config: Config) -> Result<App, BindError> {
        let mut listeners = Vec::new();
        let mut addresses = Addresses::default();
        let wanted = config.outbound.iter().map(|address| (Direction::Outbound, *address));
        for (direction, address) in wanted.chain(config.inbound.iter().map(|address| (Direction::Inbound, *address))) {
            let error = |error| BindError { direction, address, error };
            let listener = listen::bind(address).map_err(error)?;
            let real = listener.local_addr().map_err(error)?;
            match direction {
                Direction::Outbound => addresses.outbound.push(real),
                Direction::Inbound => addresses.inbound.push(real),
            }
            listeners.push((direction, listener));
        }
        let own_ports = addresses.outbound.iter().chain(&addresses.inbound).map(SocketAddr::port).collect();
        let shared = Shared {
            snapshot: Arc::new(ArcSwapOption::empty()),
            phases: Phases::default(),
            original_dst: config.original_dst,
            own_ports,
            telemetry: config.telemetry,
            loads: (0..config.workers.max(1)).map(|_| Load::default()).collect(),
        };
        let handle = Handle { shared: Arc::new(shared), changed: Arc::new(watch::Sender::new(None)) };
        Ok(App { listeners, addresses, handle })
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Starts the workers.
    pub fn run(self) -> io::Result<Running> {
        let (end, ended) = mpsc::channel(1);
        let workers = self.handle.shared.loads.len();
        let (hands, takes): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let hands: Arc<[_]> = hands.into();
        let mut threads = Vec::new();
        for (number, handed) in takes.into_iter().enumerate() {
            let own = |(direction, listener): &(Direction, net::TcpListener)| Ok((*direction, listener.try_clone()?));
            let start = Start {
                number,
                shared: Arc::clone(&self.handle.shared),
                listeners: self.listeners.iter().map(own).collect::<io::Result<_>>()?,
                hands: Arc::clone(&hands),
                handed,
                changed: self.handle.changed.subscribe(),
                _end: end.clone(),
            };
            let runtime = move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
                match runtime {
                    Ok(runtime) => runtime.block_on(start.run()),
                    Err(error) => tracing::error!(number, %error, "a worker could not start"),
                }
            };
            threads.push(thread::Builder::new().name(format!("worker-{number}")).spawn(runtime)?);
        }
        Ok(Running { threads, ended })
    }
}

impl Handle {
    /// Puts a snapshot in force: for new connections and requests at once; what is open is authorised again.
    pub fn update(&self, snapshot: Arc<Snapshot>) {
        self.shared.snapshot.store(Some(snapshot));
        self.changed.send_modify(|_| ());
    }

    /// Asks callers to leave, still taking what comes.
    pub fn drain(&self) {
        self.shared.phases.advance(Phase::Draining);
        self.changed.send_modify(|_| ());
    }

    /// Takes nothing new, finishes what is in flight for at most so long, and ends.
    pub fn stop(&self, within: Duration) {
        self.shared.phases.advance(Phase::Stopping);
        self.changed.send_modify(|deadline| *deadline = Some(Instant::now() + within));
    }

    pub fn phase(&self) -> Phase {
        self.shared.phases.get()
    }

    /// Requests without their whole answer, and open opaque connections.
    pub fn in_flight(&self) -> usize {
        self.shared.loads.iter().map(Load::in_flight).sum()
    }

    /// Callers' connections, each worker's.
    pub fn connections(&self) -> Vec<usize> {
        self.shared.loads.iter().map(Load::connections).collect()
    }
}

impl Running {
    /// Waits until every worker has ended.
    pub async fn ended(mut self) {
        // nobody sends: the channel closes with the last worker
        let _ = self.ended.recv().await;
        self.join();
    }

    /// The same without a runtime.
    pub fn join(self) {
        for thread in self.threads {
            // a worker's own panic has been logged by the panic hook
            let _ = thread.join();
        }
    }
}

/// A listener that couldn't be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {} connections: {error}; is another proxy running in this network namespace?", direction.as_str())]
pub struct BindError {
    direction: Direction,
    pub address: SocketAddr,
    #[source]
    pub error: io::Error,
}

/// An accepted connection on its way to the worker that serves it.
type Handed = (Direction, net::TcpStream, SocketAddr);

/// What a worker's thread begins with.
struct Start {
    number: usize,
    shared: Arc<Shared>,
    listeners: Vec<(Direction, net::TcpListener)>,
    hands: Arc<[mpsc::UnboundedSender<Handed>]>,
    handed: mpsc::UnboundedReceiver<Handed>,
    changed: watch::Receiver<Option<Instant>>,
    _end: mpsc::Sender<()>,
}

impl Start {
    async fn run(mut self) {
        let worker = Rc::new(Worker::new(&self.shared, self.number));
        tokio::task::spawn_local(alarm::run());
        tokio::task::spawn_local(sweep(Rc::clone(&worker)));
        let mut accepting = Vec::new();
        for (direction, listener) in std::mem::take(&mut self.listeners) {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    let accept = accept(Rc::clone(&worker), direction, listener, Arc::clone(&self.hands));
                    accepting.push(tokio::task::spawn_local(accept));
                }
                Err(error) => tracing::error!(number = self.number, %error, "a worker cannot watch its listener"),
            }
        }
        loop {
            tokio::select! {
                Some((direction, stream, peer)) = self.handed.recv() => {
                    if let Ok(stream) = TcpStream::from_std(stream) {
                        serve(&worker, direction, stream, peer);
                    }
                }
                changed = self.changed.changed() => {
                    // the program has dropped its last handle: nobody can ask for anything any more
                    if changed.is_err() {
                        return;
                    }
                    alarm::wake_all();
                    let stop = *self.changed.borrow_and_update();
                    if let Some(deadline) = stop {
                        accepting.iter().for_each(tokio::task::JoinHandle::abort);
                        return finish(&worker, deadline).await;
                    }
                }
            }
        }
    }
}

/// Waits until all connections have ended, or the time is over.
async fn finish(worker: &Worker, deadline: Instant) {
    // how often to look: short beside a deadline of seconds, and nothing else is left to do
    const LOOK: Duration = Duration::from_millis(5);
    while worker.load().connections() > 0 && Instant::now() < deadline {
        tokio::time::sleep(LOOK.min(deadline - Instant::now())).await;
    }
}

/// Closes idle connections of the pool.
async fn sweep(worker: Rc<Worker>) {
    let mut every = tokio::time::interval(Duration::from_secs(10));
    loop {
        every.tick().await;
        worker.pool.sweep();
    }
}

async fn accept(
    worker: Rc<Worker>,
    direction: Direction,
    listener: TcpListener,
    hands: Arc<[mpsc::UnboundedSender<Handed>]>,
) {
    static FAILED: Seldom = Seldom::new();
    let mut backoff = Backoff::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                backoff.accepted();
                let to = idlest(&worker);
                if to == worker.number {
                    serve(&worker, direction, stream, peer);
                } else if let Ok(stream) = stream.into_std() {
                    // a worker that has ended resets it
                    let _ = hands[to].send((direction, stream, peer));
                }
            }
            Err(error) => {
                if let Some(wait) = backoff.failed(&error) {
                    if let Some(left_out) = FAILED.now() {
                        tracing::error!(%error, left_out, "cannot accept connections; the limit of open files may be reached");
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

/// Begins a connection's life, in a task of its own.
fn serve(worker: &Rc<Worker>, direction: Direction, stream: TcpStream, peer: SocketAddr) {
    let worker = Rc::clone(worker);
    let peer = addr::canonical(peer);
    tokio::task::spawn_local(async move {
        let counted = Counted::new(&worker);
        listen::tune(&stream);
        match admit(&worker, direction, &stream, peer) {
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
    direction: Direction,
    stream: &TcpStream,
    peer: SocketAddr,
) -> Result<(Rc<Downstream>, Arc<Snapshot>), (SocketAddr, Error)> {
    let _ = direction;
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

/// A connection in the worker's load.
struct Counted(Rc<Worker>);

impl Counted {
    fn new(worker: &Rc<Worker>) -> Counted {
        worker.load().connection_opened();
        Counted(Rc::clone(worker))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.load().connection_closed();
    }
}
