//! Connections that the Pod's own programs open: what they speak, and for each request: which route, which backend, and
//! again if it provably never arrived.

use crate::downstream::{Downstream, InFlight};
use crate::error::Error;
use crate::http::answer::Body;
use crate::http::forward::{self, DEFAULT_TIMEOUTS, Forward};
use crate::http::headers::{self, AnswerHead, Undelivered};
use crate::http::respond;
use crate::http::serve::serve;
use crate::io::Io;
use crate::opaque;
use crate::protocol::{Begun, Speaks, find};
use crate::random::random;
use crate::route::{Route, Target};
use crate::snapshot::{OutboundPort, Snapshot};
use crate::telemetry::{Exchange, Scope, request_id};
use crate::upstream::connect::{Source, connect};
use crate::upstream::pool::Key;
use crate::upstream::retry::Tries;
use crate::worker::Memo;
use http::{Request, Response, request};
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;

/// A connection's life.
pub async fn connection(mut stream: TcpStream, downstream: Rc<Downstream>, snapshot: Arc<Snapshot>) {
    let original = downstream.original;
    let port = snapshot.outbound(original).cloned();
    let default = snapshot.outbound_default();
    let (scope, declared, silence) = match &port {
        Some(port) => (Arc::clone(&port.scope), port.protocol, port.detect_timeout),
        None => (Arc::clone(&default.scope), None, default.detect_timeout),
    };
    // what is open keeps what it needs of the snapshot, not the snapshot
    drop((snapshot, port));
    let counted = downstream.worker.telemetry.connection(&scope);
    let open = async || Some(connect(original, Source::Any).await);
    let Begun { speaks, read, opened } = match find(&mut stream, declared, silence, &counted, open).await {
        Ok(begun) => begun,
        Err(error) => return opaque::refuse(stream, &downstream, &scope, error),
    };
    let io = Io::new(stream, read, &downstream.meter);
    match speaks {
        Speaks::Nothing => {}
        Speaks::Opaque => {
            let exchange = Exchange::opaque(&downstream.worker.telemetry, &scope, downstream.peer, original);
            opaque::carry(io, &downstream, opened, Source::Any, exchange, || true).await;
        }
        Speaks::Http(version) => {
            downstream.slot(Source::Any).adopt(version, opened).await;
            let memo = Rc::new(Memo::default());
            let handle =
                move |downstream: &Rc<Downstream>, asked| request(Rc::clone(downstream), Rc::clone(&memo), asked);
            serve(io, version, downstream, handle).await;
        }
    }
}

/// What holds for a request: asked for by each, so that it sees the configuration in force.
#[derive(Debug)]
struct Destination {
    port: Option<Arc<OutboundPort>>,
    scope: Arc<Scope>,
}

impl Destination {
    fn of(snapshot: &Snapshot, original: SocketAddr) -> Rc<Destination> {
        let port = snapshot.outbound(original).cloned();
        let scope = port.as_ref().map_or_else(|| &snapshot.outbound_default().scope, |port| &port.scope);
        Rc::new(Destination { scope: Arc::clone(scope), port })
    }

    fn route(&self, parts: &request::Parts, exchange: &mut Exchange) -> Option<Arc<Route>> {
        let port = self.port.as_ref()?;
        let route = port.routes.find(parts).cloned();
        if let Some(route) = &route {
            exchange.route(route);
        }
        if let Some(dry_run) = &port.dry_run {
            exchange.dry_run_route(dry_run.find(parts));
        }
        route
    }
}

/// A request's life.
async fn request(
    downstream: Rc<Downstream>,
    memo: Rc<Memo<Rc<Destination>>>,
    request: Request<Incoming>,
) -> Response<Body> {
    let in_flight = InFlight::new(&downstream);
    let original = downstream.original;
    let destination = downstream.worker.of_snapshot(&memo, |snapshot| Destination::of(snapshot, original));
    let Some(destination) = destination else { return respond::error(Error::NotReady, false) };
    let (mut parts, incoming) = request.into_parts();
    request_id::ensure(&mut parts.headers);
    let telemetry = &downstream.worker.telemetry;
    let mut exchange = Exchange::request(telemetry, &destination.scope, downstream.peer, original, &parts);
    let route = destination.route(&parts, &mut exchange);
    let head = headers::forward_request(&mut parts, false);
    if let Err(error) = forward::fit_request_line(&mut parts, &head) {
        return forward::fail(&mut exchange, error);
    }
    let timeouts = route.as_ref().map_or(&DEFAULT_TIMEOUTS, |route| &route.timeouts);
    let mut forward = Forward::new(&mut parts, incoming, &head, timeouts, exchange, in_flight);
    match send(&mut forward, &parts, route.as_deref(), &downstream).await {
        Ok((response, answered)) => forward.answer(response, answered, &parts.method, || || true),
        Err(error) => forward.fail(error),
    }
}

/// Chooses a backend, and tries until there is an answer or nothing more is to be hoped for.
async fn send(
    forward: &mut Forward,
    parts: &request::Parts,
    route: Option<&Route>,
    downstream: &Downstream,
) -> Result<(Response<Incoming>, AnswerHead), Error> {
    let target = route.map_or(Target::Service, |route| route.backend((random() >> 32) as u32));
    if let Target::Cluster(cluster) = target {
        forward.exchange.cluster(cluster);
    }
    let mut tries = Tries::default();
    let mut fresh = false;
    loop {
        let of_cluster;
        let slot = match target {
            Target::Service => downstream.slot(Source::Any),
            Target::Cluster(cluster) => {
                let address = cluster.pick(&downstream.original).ok_or(Error::NoEndpoints)?;
                of_cluster = downstream.worker.pool.slot(Key { address, source: Source::Any });
                &of_cluster
            }
        };
        let mut request = Some(Request::from_parts(parts.clone(), forward.upload.body()));
        let error = match forward.attempt(slot, &mut request, fresh).await {
            Ok(mut response) => {
                let answered = headers::forward_answer(response.status(), response.headers_mut());
                let Some(how) = answered.undelivered else { return Ok((response, answered)) };
                // an answer in which our inbound proxy says that it couldn't deliver the request is no answer
                forward.retire_connection();
                match how {
                    Undelivered::Connect => Error::Undelivered,
                    Undelivered::Reset => Error::UndeliveredReset,
                }
            }
            Err(error) => error,
        };
        let replayable = forward.upload.replayable();
        let Some(pause) = tries.next(error, &parts.method, replayable, Instant::now()) else { return Err(error) };
        forward.exchange.retried(error);
        forward.pause(pause).await?;
        // a connection of the pool may lead to where this try failed; behind a Service address a new one may not
        fresh = true;
    }
}
