//! Serves a caller's connection: requests in, answers out, until one of the two sides has enough. Which protocol it is has
//! been decided before; whatever is wrong with its syntax, hyper answers.

use super::answer::Body;
use crate::alarm::Alarm;
use crate::downstream::Downstream;
use crate::drain::Phase;
use crate::io::Io;
use crate::upstream::multiplexed::LocalExecutor;
use crate::upstream::pool::{CONNECTION_WINDOW, MOST_HEAD, STREAM_WINDOW};
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::{future::poll_fn, time::Duration};

/// A caller that takes longer for one head is never going to finish it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection without requests is kept for so long: callers' pools keep theirs for minutes, and one that they use just
/// as it is closed costs a request.
const KEEP_ALIVE: Duration = Duration::from_secs(3600);
/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(15);
/// Requests at once on one connection of HTTP/2.
const MOST_STREAMS: u32 = 1000;

/// Serves until the connection ends. Each request's future is the connection's own (HTTP/1) or a task (HTTP/2).
pub async fn serve<H, F>(io: Io, version: Version, downstream: Rc<Downstream>, handle: H)
where
    H: Fn(&Rc<Downstream>, Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let for_service = Rc::clone(&downstream);
    let service = service_fn(move |request| {
        let answer = handle(&for_service, request);
        let downstream = Rc::clone(&for_service);
        async move {
            let mut response = answer.await;
            let leaving = version != Version::HTTP_2 && downstream.worker.phase() != Phase::Serving;
            if leaving && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    if version == Version::HTTP_2 {
        let connection = http2().serve_connection(TokioIo::new(io), service);
        // between two requests bytes come without being a request's (PING, SETTINGS)
        let rules =
            Rules { leave: http2::Connection::graceful_shutdown, leave_in: Phase::Draining, head_timeout: None };
        watch(pin!(connection), &downstream, rules).await;
    } else {
        let connection = http1().serve_connection(TokioIo::new(io), service).with_upgrades();
        // while draining, an HTTP/1 caller learns it from its next answer: an idle connection that is closed under it may
        // cost it a request
        let leave = http1::UpgradeableConnection::graceful_shutdown;
        let rules = Rules { leave, leave_in: Phase::Stopping, head_timeout: Some(HEAD_TIMEOUT) };
        watch(pin!(connection), &downstream, rules).await;
    }
}

/// How a connection is ended.
struct Rules<C> {
    /// In order.
    leave: fn(Pin<&mut C>),
    leave_in: Phase,
    /// How long a head may take.
    head_timeout: Option<Duration>,
}

/// A header of more than a hundred fields is refused (431), and the destination's own `date` is enough.
fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(MOST_HEAD as usize).auto_date_header(false);
    builder
}

fn http2() -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEAD)
        .auto_date_header(false);
    builder
}

/// Drives the connection, and ends it when it must: in order when the proxy leaves or nobody uses it, at once when the
/// caller sends a head without end, or takes nothing of what it is answered.
async fn watch<C: Future>(mut connection: Pin<&mut C>, downstream: &Downstream, rules: Rules<C>) {
    let alarm = Alarm::after(LOOK);
    let mut leaving = false;
    poll_fn(|cx: &mut Context<'_>| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if alarm.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let meter = &downstream.meter;
        if meter.head_takes().zip(rules.head_timeout).is_some_and(|(takes, timeout)| takes >= timeout) {
            return Poll::Ready(());
        }
        if meter.stuck() {
            meter.reset();
            return Poll::Ready(());
        }
        let unused = meter.idle().is_some_and(|idle| idle >= KEEP_ALIVE);
        if !leaving && (unused || downstream.worker.phase() >= rules.leave_in) {
            leaving = true;
            (rules.leave)(connection.as_mut());
        }
        alarm.set(LOOK);
        // once more, since the alarm must know whom to wake, and leaving is done by polling
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests;
