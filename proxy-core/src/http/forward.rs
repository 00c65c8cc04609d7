//! What both directions do with a request: one try, within its limits, and passing the answer on.

use super::answer::{Body, grpc_status};
use super::body::{CallerBody, RequestBody};
use super::headers::{AnswerHead, RequestHead};
use super::limits::Limits;
use super::{respond, upgrade};
use crate::alarm::{self, Tick};
use crate::downstream::InFlight;
use crate::error::Error;
use crate::route::Timeouts;
use crate::telemetry::Exchange;
use crate::upstream::{self, pool::Lease, pool::Slot};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version, header, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Where no route says otherwise (`design.md` 6).
pub const DEFAULT_TIMEOUTS: Timeouts =
    Timeouts { request: None, backend_request: None, idle: Some(Duration::from_secs(300)) };

/// A request that is being forwarded: what belongs to it from its head to the end of its answer. In a box, which moves
/// from the request's future into the answer's body.
#[derive(Debug)]
pub struct Forward {
    pub upload: CallerBody,
    pub exchange: Exchange,
    pub(super) limits: Limits,
    pub(super) in_flight: InFlight,
    /// The connection that the answer comes from, until it has come.
    pub(super) lease: Option<Lease>,
    /// When something of the answer came last.
    pub(super) last: Tick,
    backend_timeout: Option<Duration>,
    upgrade: Option<OnUpgrade>,
}

impl Forward {
    pub fn new(
        parts: &mut request::Parts,
        incoming: Incoming,
        head: &RequestHead,
        timeouts: &Timeouts,
        exchange: Exchange,
        in_flight: InFlight,
    ) -> Box<Forward> {
        // a tunnel may be silent for as long as its ends like
        let idle = if head.upgrade { None } else { timeouts.idle };
        in_flight.meter().has_patience(idle);
        Box::new(Forward {
            upload: CallerBody::new(incoming),
            exchange,
            limits: Limits::new(timeouts.request, idle),
            in_flight,
            lease: None,
            last: alarm::now(),
            backend_timeout: timeouts.backend_request,
            upgrade: if head.upgrade { parts.extensions.remove() } else { None },
        })
    }

    /// One try, until the head of the answer. The request is taken from where it is when it is sent.
    pub async fn attempt(
        &mut self,
        slot: &Rc<Slot>,
        request: &mut Option<Request<RequestBody>>,
        fresh: bool,
    ) -> Result<Response<Incoming>, Error> {
        self.exchange.upstream(slot.key().address);
        let (limits, upload) = (&mut self.limits, &self.upload);
        let began = alarm::now();
        let mut sent = pin!(upstream::send(slot, request, &mut self.lease, fresh));
        let mut backend_timeout = pin!(self.backend_timeout.map(tokio::time::sleep));
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = sent.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            if let Some(timeout) = backend_timeout.as_mut().as_pin_mut()
                && timeout.poll(cx).is_ready()
            {
                return Poll::Ready(Err(Error::BackendTimeout));
            }
            limits.poll_exceeded(cx, began.max(upload.last())).map(Err)
        });
        match outcome.await {
            Err(_) if upload.broken() => Err(Error::DownstreamReset),
            outcome => outcome,
        }
    }

    /// Waits, unless the request's time is over before.
    pub async fn pause(&mut self, pause: Duration) -> Result<(), Error> {
        let mut slept = pin!(tokio::time::sleep(pause));
        let now = alarm::now();
        poll_fn(|cx| match slept.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => self.limits.poll_exceeded(cx, now).map(Err),
        })
        .await
    }

    /// The connection that the last try used is of no use: what is behind it couldn't deliver.
    pub fn retire_connection(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.retire();
        }
    }

    /// Passes the answer on, whose header has been made fit for it. `go_on` is what an upgraded connection asks whenever
    /// the configuration has changed.
    pub fn answer<G: FnMut() -> bool + 'static>(
        mut self: Box<Self>,
        response: Response<Incoming>,
        answered: AnswerHead,
        method: &Method,
        go_on: impl FnOnce() -> G,
    ) -> Response<Body> {
        self.upload.settle();
        self.exchange.status(response.status());
        if answered.grpc
            && let Some(code) = grpc_status(response.headers())
        {
            self.exchange.grpc_status(code);
        }
        let (mut parts, incoming) = response.into_parts();
        if parts.version == Version::HTTP_10 {
            parts.version = Version::HTTP_11;
        }
        if upgrades(method, parts.status)
            && let (Some(downstream), Some(upstream)) = (self.upgrade.take(), parts.extensions.remove())
        {
            upgrade::tunnel(downstream, upstream, self, go_on());
            return Response::from_parts(parts, Body::Empty);
        }
        Response::from_parts(parts, Body::answer(incoming, self))
    }

    /// The answer is whole.
    pub(super) fn complete(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
            self.exchange.finished();
        }
    }

    /// Ends the request with an answer of our own.
    pub fn fail(mut self: Box<Self>, error: Error) -> Response<Body> {
        fail(&mut self.exchange, error)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.exchange.received(self.upload.received());
    }
}

/// Notes the error, and makes the answer that says so.
pub fn fail(exchange: &mut Exchange, error: Error) -> Response<Body> {
    exchange.failed(error);
    respond::error(error, exchange.is_grpc())
}

fn upgrades(method: &Method, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (method == Method::CONNECT && status.is_success())
}

/// Makes the request line fit for the next hop: it is sent as what it came as, but HTTP/1.0 becomes HTTP/1.1, and HTTP/2
/// gets the pseudo-header fields that hyper wants.
pub fn fit_request_line(parts: &mut request::Parts, head: &RequestHead) -> Result<(), Error> {
    if !head.host_is_valid(parts.version) {
        return Err(Error::DownstreamProtocol);
    }
    match parts.version {
        // a request of HTTP/1.1 must have a Host; without one it stays what it is
        Version::HTTP_10 if head.has_host() => parts.version = Version::HTTP_11,
        Version::HTTP_2 if parts.uri.authority().is_none() => complete_uri(parts)?,
        _ => {}
    }
    Ok(())
}

/// RFC 9113 8.3.1: a client may send Host instead of `:authority`.
fn complete_uri(parts: &mut request::Parts) -> Result<(), Error> {
    let host = parts.headers.get(header::HOST).ok_or(Error::DownstreamProtocol)?;
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| Error::DownstreamProtocol)?;
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.authority = Some(authority);
    uri.scheme.get_or_insert(Scheme::HTTP);
    parts.uri = Uri::from_parts(uri).map_err(|_| Error::DownstreamProtocol)?;
    Ok(())
}
