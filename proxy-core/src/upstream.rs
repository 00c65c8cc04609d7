//! Sends a request to an address, over a connection of the pool or a new one, and says what came of it in terms of the
//! error table. It doesn't choose the address and doesn't try again, but for a pooled connection that turns out to have
//! been closed before the request was written to it.

pub mod connect;
pub mod multiplexed;
pub mod pool;
pub mod retry;

use crate::error::Error;
use crate::http::body::{RequestBody, Stopped};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use pool::{Lease, Slot};
use std::error::Error as _;
use std::rc::Rc;

/// Sends a request, and gives the head of the answer; the right to the connection goes into `lease`. The request's version
/// decides: what the caller speaks, the destination speaks too. With `fresh`, no connection of the pool is used.
///
/// Request and lease are passed by place: moving what is as large through every layer of futures shows in profiles.
pub async fn send(
    slot: &Rc<Slot>,
    request: &mut Option<Request<RequestBody>>,
    lease: &mut Option<Lease>,
    fresh: bool,
) -> Result<Response<Incoming>, Error> {
    if request.as_ref().is_some_and(|request| request.version() == Version::HTTP_2) {
        return send_http2(slot, request, lease, fresh).await;
    }
    let mut pooled = !fresh;
    loop {
        let kept = if pooled { slot.take() } else { None };
        pooled = kept.is_some();
        let mut sender = match kept {
            Some(kept) => kept,
            None => slot.open_http1().await?,
        };
        let Some(unsent) = request.take() else { return Err(Error::Internal) };
        match sender.try_send_request(unsent).await {
            Ok(response) => {
                *lease = Some(Lease::Http1(Rc::clone(slot), sender));
                return Ok(response);
            }
            Err(mut failed) => match failed.take_message() {
                // it never left: the destination had closed this connection
                Some(unsent) if pooled => *request = Some(unsent),
                Some(_) => return Err(Error::NeverSent),
                None => return Err(classify(failed.error())),
            },
        }
    }
}

async fn send_http2(
    slot: &Rc<Slot>,
    request: &mut Option<Request<RequestBody>>,
    lease: &mut Option<Lease>,
    fresh: bool,
) -> Result<Response<Incoming>, Error> {
    // a connection that the destination has closed shows it at its first use
    for fresh in [fresh, true] {
        let stream = slot.stream(fresh).await?;
        let Some(unsent) = request.take() else { return Err(Error::Internal) };
        match stream.sender().try_send_request(unsent).await {
            Ok(response) => {
                *lease = Some(Lease::Http2(stream));
                return Ok(response);
            }
            Err(mut failed) => match failed.take_message() {
                Some(unsent) => *request = Some(unsent),
                None => return Err(classify(failed.error())),
            },
        }
    }
    Err(Error::NeverSent)
}

/// What hyper's error means. Whether bytes of the request were written isn't in it: where none was, the request came back.
fn classify(error: &hyper::Error) -> Error {
    if let Some(error) = cause::<h2::Error>(error) {
        return classify_http2(error);
    }
    if let Some(stopped) = cause::<Stopped>(error) {
        return match stopped {
            Stopped::Caller(_) => Error::DownstreamReset,
            Stopped::TakenOver => Error::Internal,
        };
    }
    if error.is_parse() { Error::UpstreamProtocol } else { Error::UpstreamReset }
}

fn classify_http2(error: &h2::Error) -> Error {
    // a stream above the last id of a GOAWAY; those below end with an error of IO
    if error.is_go_away() && error.is_remote() {
        return Error::RefusedStream;
    }
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) if error.is_remote() => Error::RefusedStream,
        Some(h2::Reason::HTTP_1_1_REQUIRED) => Error::Unsupported,
        Some(_) if error.is_remote() => Error::UpstreamReset,
        Some(_) => Error::UpstreamProtocol,
        None => Error::UpstreamReset,
    }
}

fn cause<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        source = error.source();
    }
    None
}
