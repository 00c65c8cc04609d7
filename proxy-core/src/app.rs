//! The data plane as a whole: binds everything, then runs one thread per worker until it is told to stop.
//!
//! A worker is a single-threaded runtime with its own reactor, pool and counters. All workers accept from the same
//! listening sockets; a connection that would burden the busier one is handed to the idler one. Nothing here knows where
//! snapshots come from.

use crate::accept::{self, Handed};
use crate::addr::OriginalDst;
use crate::drain::{Load, Phase, Phases};
use crate::snapshot::Snapshot;
use crate::telemetry::{Direction, Telemetry};
use crate::worker::{Shared, Worker};
use crate::{alarm, listen};
use arc_swap::ArcSwapOption;
use std::net::{self, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::{io, thread, time::Duration};
use tokio::net::TcpListener;
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
                    let accept = accept::accept(Rc::clone(&worker), direction, listener, Arc::clone(&self.hands));
                    accepting.push(tokio::task::spawn_local(accept));
                }
                Err(error) => tracing::error!(number = self.number, %error, "a worker cannot watch its listener"),
            }
        }
        loop {
            tokio::select! {
                Some(handed) = self.handed.recv() => accept::take(&worker, handed),
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
