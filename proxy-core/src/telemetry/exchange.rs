//! One record per request, or per opaque connection. It emits metrics and the access log line once, on drop, so that no
//! way out of a function forgets it.
//!
//! What only the access log wants is kept only where the access log is on.

use super::access_log::{Record, RequestLine};
use super::metrics::{DURATION, Label, PortLabels, REQUESTS};
use super::requests::{Cells, Key, class};
use super::{Scope, Worker};
use crate::error::Error;
use crate::policy::authz::{Authz, Denied, Permit};
use crate::route::Route;
use crate::snapshot::Cluster;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode, Uri, Version, request::Parts};
use prometheus_client::metrics::counter::Counter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Whether a decision counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    Enforce,
    DryRun,
}

/// The record.
#[derive(Debug)]
pub struct Exchange {
    worker: Arc<Worker>,
    scope: Arc<Scope>,
    kind: Kind,
    start: Instant,
    received: u64,
    sent: u64,
    /// 0: none yet.
    status: u16,
    grpc_status: Option<u8>,
    error: Option<Error>,
    finished: bool,
    route: Option<Arc<Route>>,
    cluster: Option<Arc<Cluster>>,
    log: Option<Box<Log>>,
}

#[derive(Debug)]
enum Kind {
    Request {
        version: Version,
        grpc: bool,
    },
    /// With the counters of its bytes, so that a long connection shows while it lasts.
    Opaque {
        received: Counter,
        sent: Counter,
    },
}

/// What only the access log wants.
#[derive(Debug)]
struct Log {
    source: SocketAddr,
    destination: SocketAddr,
    upstream: Option<SocketAddr>,
    request: Option<Head>,
    denied_by: Option<Arc<str>>,
    dry_run: Option<String>,
}

#[derive(Debug)]
struct Head {
    method: Method,
    uri: Uri,
    request_id: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    host: Option<HeaderValue>,
}

impl Exchange {
    /// Begins the record of a request, as soon as its head is there, before anything in it is changed.
    pub fn request(
        worker: &Arc<Worker>,
        scope: &Arc<Scope>,
        source: SocketAddr,
        destination: SocketAddr,
        request: &Parts,
    ) -> Exchange {
        let kind = Kind::Request { version: request.version, grpc: is_grpc(&request.headers) };
        let mut exchange = Exchange::new(worker, scope, kind, source, destination);
        if let Some(log) = &mut exchange.log {
            let header = |name: HeaderName| request.headers.get(name).cloned();
            log.request = Some(Head {
                method: request.method.clone(),
                uri: request.uri.clone(),
                request_id: header(super::request_id::HEADER),
                user_agent: header(USER_AGENT),
                host: header(HOST),
            });
        }
        exchange
    }

    /// Begins the record of a connection whose bytes aren't looked into.
    pub fn opaque(worker: &Arc<Worker>, scope: &Arc<Scope>, source: SocketAddr, destination: SocketAddr) -> Exchange {
        let (received, sent) = worker.metrics().opaque_bytes(&PortLabels::new(scope));
        Exchange::new(worker, scope, Kind::Opaque { received, sent }, source, destination)
    }

    fn new(worker: &Arc<Worker>, scope: &Arc<Scope>, kind: Kind, source: SocketAddr, destination: SocketAddr) -> Self {
        let log = Log { source, destination, upstream: None, request: None, denied_by: None, dry_run: None };
        Exchange {
            worker: Arc::clone(worker),
            scope: Arc::clone(scope),
            kind,
            start: Instant::now(),
            received: 0,
            sent: 0,
            status: 0,
            grpc_status: None,
            error: None,
            finished: false,
            route: None,
            cluster: None,
            log: scope.access_log.is_on().then(|| Box::new(log)),
        }
    }

    /// When it began.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Whether errors of ours are to be told as `grpc-status`.
    pub fn is_grpc(&self) -> bool {
        matches!(self.kind, Kind::Request { grpc: true, .. })
    }

    /// The route that matched.
    pub fn route(&mut self, route: &Arc<Route>) {
        self.route = Some(Arc::clone(route));
    }

    /// The route that the policies of mode DryRun would have chosen (`None`: none); to be called after `route`.
    pub fn dry_run_route(&mut self, would: Option<&Arc<Route>>) {
        let (is, would) = (self.route.as_ref().map(|route| &route.name), would.map(|route| &route.name));
        self.worker.metrics().dry_run_route(&PortLabels::new(&self.scope), is == would);
        if is != would {
            self.note_dry_run(|| format!("route {}", would.map_or("none", |name| name)));
        }
    }

    /// The backend that was chosen, where it isn't the Service itself.
    pub fn cluster(&mut self, cluster: &Arc<Cluster>) {
        self.cluster = Some(Arc::clone(cluster));
    }

    /// What an authorization said: to be called once for what is enforced, and once for the dry run where there is one.
    pub fn decided(&mut self, mode: Mode, authz: &Authz, decision: &Result<Permit, Denied>) {
        if authz.says_something()
            && let Some(decider) = authz.decider(decision)
        {
            self.worker.metrics().decided(decider, mode);
        }
        match (mode, decision) {
            (_, Ok(_)) => {}
            (Mode::Enforce, Err(denied)) => {
                if let Some(log) = &mut self.log {
                    log.denied_by = Some(Arc::clone(&denied.rule));
                }
            }
            (Mode::DryRun, Err(denied)) => self.note_dry_run(|| format!("denied by {}", denied.rule)),
        }
    }

    fn note_dry_run(&mut self, note: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.dry_run = Some(note());
        }
    }

    /// Where it was sent. The last one stays.
    pub fn upstream(&mut self, address: SocketAddr) {
        if let Some(log) = &mut self.log {
            log.upstream = Some(address);
        }
    }

    /// It is sent once more, because the try before ended so.
    pub fn retried(&mut self, because: Error) {
        self.worker.metrics().retried(&PortLabels::new(&self.scope), because);
    }

    /// The head of the answer that the caller gets.
    pub fn status(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    /// `grpc-status`, from the answer's head or trailers.
    pub fn grpc_status(&mut self, code: u32) {
        // 0 to 16 exist; all others are one label
        self.grpc_status = Some(u8::try_from(code).unwrap_or(u8::MAX).min(GRPC_OTHER));
    }

    /// It failed. The first failure stays: what follows from it says less. Its status counts where the caller has got no
    /// other.
    pub fn failed(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// The failure, if there was one.
    pub fn error(&self) -> Option<Error> {
        self.error
    }

    /// Bytes of body (or connection) came from the caller.
    pub fn received(&mut self, bytes: u64) {
        self.received += bytes;
        if let Kind::Opaque { received, .. } = &self.kind {
            received.inc_by(bytes);
        }
    }

    /// Bytes of body (or connection) went to the caller.
    pub fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
        if let Kind::Opaque { sent, .. } = &self.kind {
            sent.inc_by(bytes);
        }
    }

    /// Everything was sent, or the connection ended in order. An exchange that is dropped without this and without a
    /// failure was ended by the caller: flag `DC`.
    pub fn finished(&mut self) {
        self.finished = true;
    }
}

/// Stands for every code that gRPC doesn't have.
const GRPC_OTHER: u8 = 17;

/// grpc/doc/PROTOCOL-HTTP2.md: `application/grpc`, then nothing, `+` or `;`.
fn is_grpc(headers: &HeaderMap) -> bool {
    let rest = headers.get(CONTENT_TYPE).and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let duration = self.start.elapsed();
        if !self.finished && self.error.is_none() {
            self.error = Some(Error::DownstreamReset);
        }
        match self.kind {
            Kind::Request { version, grpc } => {
                if let (0, Some(error)) = (self.status, self.error) {
                    self.status = error.status().as_u16();
                    if grpc {
                        self.grpc_status.get_or_insert(error.grpc_code() as u8);
                    }
                }
                self.count_request(version, grpc, duration);
            }
            Kind::Opaque { .. } => {
                let flag = self.error.map_or("", Error::flag);
                self.worker.metrics().opaque_closed(&PortLabels::new(&self.scope), flag);
            }
        }
        if self.scope.access_log.wants(self.status, duration) {
            self.write_line(duration);
        }
    }
}

impl Exchange {
    fn count_request(&self, version: Version, grpc: bool, duration: Duration) {
        let (version_number, version_text) = match version {
            Version::HTTP_10 => (10, "1.0"),
            Version::HTTP_2 => (20, "2"),
            _ => (11, "1.1"),
        };
        let key = Key {
            scope: self.scope.id,
            route: self.route.as_ref().map_or(0, |route| route.id),
            cluster: self.cluster.as_ref().map_or(0, |cluster| cluster.id),
            status: self.status,
            grpc_status: self.grpc_status.map_or(0, |code| code + 1),
            version: version_number,
            grpc,
            error: self.error.map_or(0, |error| error as u8 + 1),
        };
        let find = || {
            let PortLabels([direction, service, port]) = PortLabels::new(&self.scope);
            let rpc_system = if grpc { "grpc" } else { "" };
            let timing = [
                direction.clone(),
                service.clone(),
                port.clone(),
                version_text.into(),
                rpc_system.into(),
                class(self.status),
            ];
            let requests = [
                direction,
                service,
                port,
                self.route.as_ref().map_or("".into(), |route| (&route.name).into()),
                self.cluster.as_ref().map_or("".into(), |cluster| (&cluster.name).into()),
                version_text.into(),
                rpc_system.into(),
                Label::Number(self.status),
                self.grpc_status.map_or("".into(), |code| match code {
                    GRPC_OTHER => "other".into(),
                    code => Label::Number(code.into()),
                }),
                self.error.map_or("", Error::flag).into(),
            ];
            let metrics = self.worker.metrics();
            Cells {
                requests: metrics.requests.cell(self.worker.id, REQUESTS.with(requests)),
                timing: metrics.timings.cell(self.worker.id, DURATION.with(timing)),
            }
        };
        self.worker.requests.record(key, duration, self.received, self.sent, find);
    }

    fn write_line(&self, duration: Duration) {
        let Some(log) = &self.log else { return };
        let head = log.request.as_ref();
        let authority = head.and_then(|head| match (&head.host, head.uri.authority()) {
            (Some(host), _) => Some(host.as_bytes()),
            (None, Some(authority)) => Some(authority.as_str().as_bytes()),
            (None, None) => None,
        });
        let version = match self.kind {
            Kind::Request { version, .. } => version,
            Kind::Opaque { .. } => Version::HTTP_11,
        };
        let record = Record {
            // the clock may have been set since; that shifts this line's time by as much
            start: SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH),
            direction: self.scope.direction.as_str(),
            request: head.map(|head| RequestLine { method: &head.method, uri: &head.uri, version }),
            status: self.status,
            grpc_status: self.grpc_status,
            flag: self.error.map_or("", Error::flag),
            duration,
            received: self.received,
            sent: self.sent,
            upstream: log.upstream,
            destination: log.destination,
            source: log.source,
            service: &self.scope.service,
            route: self.route.as_ref().map_or("", |route| &route.name),
            request_id: text(head.and_then(|head| head.request_id.as_ref())),
            user_agent: text(head.and_then(|head| head.user_agent.as_ref())),
            authority: authority.unwrap_or_default(),
            denied_by: log.denied_by.as_deref().unwrap_or_default(),
            dry_run: log.dry_run.as_deref().unwrap_or_default(),
        };
        self.worker.lines.append(|out| record.write(self.scope.access_log.format, out));
    }
}

fn text(value: Option<&HeaderValue>) -> &[u8] {
    value.map(HeaderValue::as_bytes).unwrap_or_default()
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::DryRun => "dry_run",
        }
    }
}

#[cfg(test)]
mod tests;
