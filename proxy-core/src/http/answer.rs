//! Bodies on their way to the caller. That of a forwarded answer carries the request it answers, so that all that belongs
//! to the request ends when the answer does: its record, the connection that is free again then, and its limits.

use super::forward::Forward;
use crate::alarm;
use crate::error::Error;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body for the caller.
#[derive(Debug, Default)]
pub enum Body {
    #[default]
    Empty,
    /// Of ours.
    Text(Bytes),
    /// Of the destination.
    Answer(Incoming, Box<Forward>),
}

impl Body {
    /// The body of an answer: none at all where there is nothing to come, so that the request ends here.
    pub fn answer(incoming: Incoming, mut request: Box<Forward>) -> Body {
        if incoming.is_end_stream() {
            request.complete();
            return Body::Empty;
        }
        request.last = alarm::now();
        Body::Answer(incoming, request)
    }
}

fn poll_answer(
    incoming: &mut Incoming,
    request: &mut Forward,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
    match Pin::new(&mut *incoming).poll_frame(cx) {
        Poll::Ready(Some(Ok(frame))) => {
            request.last = alarm::now();
            if let Some(data) = frame.data_ref() {
                request.exchange.sent(data.len() as u64);
            } else if let Some(code) = frame.trailers_ref().and_then(grpc_status) {
                request.exchange.grpc_status(code);
            }
            if frame.is_trailers() || incoming.is_end_stream() {
                request.complete();
            }
            Poll::Ready(Some(Ok(frame)))
        }
        Poll::Ready(None) => {
            request.complete();
            Poll::Ready(None)
        }
        Poll::Ready(Some(Err(_))) => {
            let error = if request.upload.broken() { Error::DownstreamReset } else { Error::UpstreamTruncated };
            Poll::Ready(Some(Err(break_off(request, error))))
        }
        Poll::Pending => {
            let last = request.last.max(request.upload.last());
            request.limits.poll_exceeded(cx, last).map(|error| Some(Err(break_off(request, error))))
        }
    }
}

fn break_off(request: &mut Forward, error: Error) -> Error {
    request.exchange.failed(error);
    // an HTTP/1 answer that ends with its connection would look whole after an ordinary end
    request.in_flight.meter().reset();
    error
}

/// `grpc-status` of a head (an answer of nothing else) or of trailers.
pub fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        match this {
            Body::Empty => Poll::Ready(None),
            Body::Text(text) => {
                let text = std::mem::take(text);
                *this = Body::Empty;
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
            Body::Answer(incoming, request) => poll_answer(incoming, request, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Text(text) => text.is_empty(),
            Body::Answer(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Text(text) => SizeHint::with_exact(text.len() as u64),
            Body::Answer(incoming, _) => incoming.size_hint(),
        }
    }
}
