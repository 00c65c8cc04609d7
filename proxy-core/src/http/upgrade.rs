//! A connection that stops being HTTP (WebSocket, CONNECT): once both sides have agreed, bytes are copied like those of an
//! opaque one, with nothing read of them. The record of the request ends with it.

use super::forward::Forward;
use crate::error::Error;
use crate::io::Io;
use crate::tcp::{self, Broken, Stream};
use crate::telemetry::Exchange;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Copies, in a task of its own, as soon as the answer that agrees has been written. hyper ends the connections' own tasks
/// then.
pub fn tunnel(
    downstream: OnUpgrade,
    upstream: OnUpgrade,
    mut request: Box<Forward>,
    go_on: impl FnMut() -> bool + 'static,
) {
    tokio::task::spawn_local(async move {
        let exchange = &mut request.exchange;
        let (downstream, upstream) = match (downstream.await, upstream.await) {
            (Ok(downstream), Ok(upstream)) => (downstream, upstream),
            (Err(_), _) => return exchange.failed(Error::DownstreamReset),
            (_, Err(_)) => return exchange.failed(Error::UpstreamReset),
        };
        let ended = match (plain_downstream(downstream), plain_upstream(upstream)) {
            (Ok(mut downstream), Ok(mut upstream)) => {
                let ended = tcp::copy(&mut downstream, &mut upstream, exchange, go_on).await;
                if ended.is_err() {
                    downstream.meter().reset();
                    upstream.meter().reset();
                }
                ended
            }
            (Ok(downstream), Err(upstream)) => copy(downstream, upstream, exchange, go_on).await,
            (Err(downstream), Ok(upstream)) => copy(downstream, upstream, exchange, go_on).await,
            (Err(downstream), Err(upstream)) => copy(downstream, upstream, exchange, go_on).await,
        };
        note_end(exchange, &ended);
    });
}

/// How a copy ended, for the record.
pub fn note_end(exchange: &mut Exchange, ended: &Result<(), Broken>) {
    match ended {
        Ok(()) => exchange.finished(),
        Err(Broken::Downstream(_)) => exchange.failed(Error::DownstreamReset),
        Err(Broken::Upstream(_)) => exchange.failed(Error::UpstreamReset),
        Err(Broken::Stopped) => exchange.failed(Error::Unauthorized),
    }
}

async fn copy(
    mut downstream: impl Stream,
    mut upstream: impl Stream,
    exchange: &mut Exchange,
    go_on: impl FnMut() -> bool,
) -> Result<(), Broken> {
    tcp::copy(&mut downstream, &mut upstream, exchange, go_on).await
}

/// The socket itself, where it isn't a stream of HTTP/2.
fn plain_downstream(upgraded: Upgraded) -> Result<Io, TokioIo<Upgraded>> {
    let parts = upgraded.downcast::<TokioIo<Io>>().map_err(TokioIo::new)?;
    let mut io = parts.io.into_inner();
    io.unread(parts.read_buf);
    Ok(io)
}

fn plain_upstream(upgraded: Upgraded) -> Result<Io, TokioIo<Upgraded>> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(TokioIo::new)?;
    Ok(Io::new(parts.io.into_inner(), parts.read_buf, &Arc::default()))
}
