//! What the proxy tells of the traffic: metrics and the access log.
//!
//! One [`Telemetry`] per process, one [`Worker`] per worker thread, one [`Exchange`] per request or opaque connection.
//! An exchange is filled while things happen and emits everything once, on drop. What a worker counts goes into cells of
//! its own, and its log lines into a buffer of its own, so workers never wait for each other or for the disk.

pub mod access_log;
pub mod exchange;
mod lines;
pub mod metrics;
pub mod request_id;
mod requests;

pub use access_log::AccessLog;
pub use exchange::{Exchange, Mode};
pub use lines::Writer;
pub use metrics::Metrics;

use lines::{Buffer, Lines};
use metrics::{Active, PortLabels};
use requests::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// One per process.
#[derive(Debug)]
pub struct Telemetry {
    pub metrics: Metrics,
    lines: Arc<Lines>,
}

/// One per worker thread. (Shared by handle, since what a worker spawns must own what it uses.)
#[derive(Debug)]
pub struct Worker {
    telemetry: Arc<Telemetry>,
    id: u32,
    requests: Cache,
    lines: Arc<Buffer>,
}

/// Which way, as seen from the Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// What the exchanges of one port have in common.
#[derive(Debug)]
pub struct Scope {
    /// Of this object in this process: a key for caches.
    id: u32,
    pub direction: Direction,
    /// `NAMESPACE/NAME` of the called Service; empty where it isn't known (inbound, and undeclared destinations).
    pub service: Arc<str>,
    /// The called port; `None`: one that nobody declared.
    pub port: Option<u16>,
    pub access_log: AccessLog,
}

/// How a connection's protocol was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Detected {
    /// It was declared.
    Declared,
    Http1,
    Http2,
    /// TLS that the application speaks itself.
    Tls,
    /// The first bytes are of nothing that we know.
    Opaque,
    /// The client was silent for the detection time, and the server spoke first.
    ServerFirst,
    /// The client was silent for the detection time, and spoke first then.
    ClientLate,
    /// Closed before a byte came.
    Closed,
}

/// An open connection: opened once, active until it is dropped.
#[derive(Debug)]
#[must_use = "the connection counts as closed once this is dropped"]
pub struct Connection {
    worker: Arc<Worker>,
    direction: Direction,
    _active: Active,
}

impl Telemetry {
    pub fn new() -> Arc<Telemetry> {
        let metrics = Metrics::new();
        let lines = Arc::new(Lines::new(metrics.dropped_lines()));
        Arc::new(Telemetry { metrics, lines })
    }

    /// To be called once by each worker thread.
    pub fn worker(self: &Arc<Self>) -> Arc<Worker> {
        Arc::new(Worker {
            telemetry: Arc::clone(self),
            id: next_id(),
            requests: Cache::default(),
            lines: self.lines.buffer(),
        })
    }

    /// Starts the thread that writes access log lines to `out`. Until then they wait, up to a limit.
    pub fn write_lines_to(&self, out: impl std::io::Write + Send + 'static) -> std::io::Result<Writer> {
        Lines::start(&self.lines, out)
    }

    /// The access log lines that nobody has written yet: for tests.
    pub fn take_lines(&self) -> String {
        String::from_utf8_lossy(&self.lines.take()).into_owned()
    }
}

impl Worker {
    pub fn metrics(&self) -> &Metrics {
        &self.telemetry.metrics
    }

    /// Counts a connection as opened, and as active until the value is dropped.
    pub fn connection(self: &Arc<Self>, scope: &Scope) -> Connection {
        let active = self.metrics().opened(&PortLabels::new(scope));
        Connection { worker: Arc::clone(self), direction: scope.direction, _active: active }
    }
}

impl Connection {
    /// Counts how its protocol was found.
    pub fn detected(&self, how: Detected) {
        self.worker.metrics().detected(self.direction, how);
    }
}

impl Scope {
    pub fn new(direction: Direction, service: &str, port: Option<u16>, access_log: AccessLog) -> Scope {
        Scope { id: next_id(), direction, service: service.into(), port, access_log }
    }
}

impl Direction {
    pub const fn as_str(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        }
    }
}

impl Detected {
    pub const ALL: [Detected; 8] = [
        Detected::Declared,
        Detected::Http1,
        Detected::Http2,
        Detected::Tls,
        Detected::Opaque,
        Detected::ServerFirst,
        Detected::ClientLate,
        Detected::Closed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Detected::Declared => "declared",
            Detected::Http1 => "http1",
            Detected::Http2 => "http2",
            Detected::Tls => "tls",
            Detected::Opaque => "opaque",
            Detected::ServerFirst => "server_first",
            Detected::ClientLate => "client_late",
            Detected::Closed => "closed",
        }
    }
}

/// A number that no other object of this process has: what a cache can compare in place of texts. Zero is never given.
pub(crate) fn next_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
