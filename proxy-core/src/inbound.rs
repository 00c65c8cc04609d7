//! Connections to the Pod: what they speak, whether they may, and on to the application at the Pod's own address. It never
//! tries again: the calling side does, which may reach another Pod.

use crate::downstream::{Downstream, InFlight};
use crate::error::Error;
use crate::http::answer::Body;
use crate::http::forward::{self, DEFAULT_TIMEOUTS, Forward};
use crate::http::headers::{self, RequestHead, Undelivered};
use crate::http::respond;
use crate::http::serve::serve;
use crate::io::Io;
use crate::opaque;
use crate::policy::authz::{Caller, Operation, Permit};
use crate::protocol::{Begun, Speaks, find};
use crate::snapshot::{InboundPort, Snapshot};
use crate::telemetry::{Exchange, exchange::Mode};
use crate::upstream::connect::{Source, connect};
use crate::worker::Memo;
use bytes::Bytes;
use http::{Method, Request, Response, request};
use hyper::body::Incoming;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpStream;

/// A connection's life.
pub async fn connection(mut stream: TcpStream, downstream: Rc<Downstream>, snapshot: Arc<Snapshot>) {
    let original = downstream.original;
    let port = Arc::clone(snapshot.inbound(original.port()));
    drop(snapshot);
    let counted = downstream.worker.telemetry.connection(&port.scope);
    let caller = Caller::new(downstream.peer.ip());
    let open = async || {
        let permit = port.authz.connection(&caller, original.port()).ok()?;
        Some(open(permit, &downstream).await)
    };
    let found = find(&mut stream, port.protocol, port.detect_timeout, &counted, open).await;
    let Begun { speaks, read, opened } = match found {
        Ok(begun) => begun,
        Err(error) => return opaque::refuse(stream, &downstream, &port.scope, error),
    };
    match speaks {
        Speaks::Nothing => {}
        Speaks::Opaque => carry(stream, read, opened, &downstream, &port, caller).await,
        Speaks::Http(version) => {
            downstream.slot(Source::Passthrough).adopt(version, opened).await;
            let io = Io::new(stream, read, &downstream.meter);
            let memo = Rc::new(Memo::default());
            let handle =
                move |downstream: &Rc<Downstream>, asked| request(Rc::clone(downstream), Rc::clone(&memo), asked);
            serve(io, version, downstream, handle).await;
        }
    }
}

async fn open(_permit: Permit, downstream: &Downstream) -> Result<TcpStream, Error> {
    connect(downstream.original, Source::Passthrough).await
}

/// An opaque connection: judged before anything is passed on, and again whenever the configuration has changed.
async fn carry(
    stream: TcpStream,
    read: Bytes,
    opened: Option<TcpStream>,
    downstream: &Rc<Downstream>,
    port: &InboundPort,
    caller: Caller,
) {
    let number = downstream.original.port();
    let mut exchange =
        Exchange::opaque(&downstream.worker.telemetry, &port.scope, downstream.peer, downstream.original);
    let decision = port.authz.connection(&caller, number);
    exchange.decided(Mode::Enforce, &port.authz, &decision);
    if let Some(dry_run) = &port.dry_run {
        exchange.decided(Mode::DryRun, dry_run, &dry_run.connection(&caller, number));
    }
    let io = Io::new(stream, read, &downstream.meter);
    let Ok(permit) = decision else {
        exchange.failed(Error::Unauthorized);
        return io.meter().reset();
    };
    let go_on = still(downstream, move |port| port.authz.connection(&caller, number).is_ok());
    carry_permitted(permit, io, downstream, opened, exchange, go_on).await;
}

async fn carry_permitted(
    _permit: Permit,
    io: Io,
    downstream: &Rc<Downstream>,
    opened: Option<TcpStream>,
    exchange: Exchange,
    go_on: impl FnMut() -> bool,
) {
    opaque::carry(io, downstream, opened, Source::Passthrough, exchange, go_on).await;
}

/// Asks again what was asked in the beginning, of the configuration in force, and only if that is another one.
fn still(downstream: &Rc<Downstream>, may: impl Fn(&InboundPort) -> bool + 'static) -> impl FnMut() -> bool + 'static {
    let downstream = Rc::clone(downstream);
    let mut judged = None;
    move || {
        let Some(snapshot) = downstream.worker.snapshot() else { return true };
        judged.replace(snapshot.generation) == Some(snapshot.generation)
            || may(snapshot.inbound(downstream.original.port()))
    }
}

/// A request's life.
async fn request(
    downstream: Rc<Downstream>,
    memo: Rc<Memo<Arc<InboundPort>>>,
    request: Request<Incoming>,
) -> Response<Body> {
    let in_flight = InFlight::new(&downstream);
    let original = downstream.original;
    let port = downstream.worker.of_snapshot(&memo, |snapshot| Arc::clone(snapshot.inbound(original.port())));
    let Some(port) = port else { return respond::error(Error::NotReady, false) };
    let (mut parts, incoming) = request.into_parts();
    let telemetry = &downstream.worker.telemetry;
    let mut exchange = Exchange::request(telemetry, &port.scope, downstream.peer, original, &parts);
    let head = headers::forward_request(&mut parts, true);
    if let Err(error) = forward::fit_request_line(&mut parts, &head) {
        return forward::fail(&mut exchange, error);
    }
    let permit = match judge(&port, &downstream, &parts, &mut exchange) {
        Ok(permit) => permit,
        Err(error) => return forward::fail(&mut exchange, error),
    };
    let forward = Forward::new(&mut parts, incoming, &head, &DEFAULT_TIMEOUTS, exchange, in_flight);
    pass_on(permit, forward, parts, &head, &downstream).await
}

fn judge(
    port: &InboundPort,
    downstream: &Downstream,
    parts: &request::Parts,
    exchange: &mut Exchange,
) -> Result<Permit, Error> {
    let caller = Caller::new(downstream.peer.ip());
    let operation = operation(downstream, &parts.method, parts.uri.path());
    let decision = port.authz.request(&caller, &operation);
    exchange.decided(Mode::Enforce, &port.authz, &decision);
    if let Some(dry_run) = &port.dry_run {
        exchange.decided(Mode::DryRun, dry_run, &dry_run.request(&caller, &operation));
    }
    decision.map_err(|_| Error::Unauthorized)
}

fn operation<'a>(downstream: &Downstream, method: &'a Method, path: &'a str) -> Operation<'a> {
    Operation { port: downstream.original.port(), method, path }
}

/// To the application, over a connection of the pool.
async fn pass_on(
    _permit: Permit,
    mut forward: Box<Forward>,
    parts: request::Parts,
    head: &RequestHead,
    downstream: &Rc<Downstream>,
) -> Response<Body> {
    let method = parts.method.clone();
    // only what may become a tunnel is judged again later
    let path = if head.upgrade { parts.uri.path().to_owned() } else { String::new() };
    let mut request = Some(Request::from_parts(parts, forward.upload.body()));
    match forward.attempt(downstream.slot(Source::Passthrough), &mut request, false).await {
        Ok(mut response) => {
            let answered = headers::forward_answer(response.status(), response.headers_mut());
            let judged_again = || {
                let (caller, method, called) =
                    (Caller::new(downstream.peer.ip()), method.clone(), Rc::clone(downstream));
                still(downstream, move |port| port.authz.request(&caller, &operation(&called, &method, &path)).is_ok())
            };
            forward.answer(response, answered, &method, judged_again)
        }
        Err(error) => {
            let mut response = forward.fail(error);
            if let Some(how) = undelivered(error) {
                headers::set_undelivered(response.headers_mut(), how);
            }
            response
        }
    }
}

/// What the calling proxy is told, which may try again then.
fn undelivered(error: Error) -> Option<Undelivered> {
    use crate::error::Retry;
    match error.entry().retry {
        Retry::NeverDelivered => Some(Undelivered::Connect),
        Retry::Idempotent => Some(Undelivered::Reset),
        Retry::No => None,
    }
}
