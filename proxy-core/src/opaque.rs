//! A connection whose bytes aren't looked into: opened to its destination and copied, or reset where that refuses, so that
//! a closed port looks closed.

use crate::downstream::{Downstream, InFlight};
use crate::error::Error;
use crate::http::upgrade::note_end;
use crate::io::Io;
use crate::telemetry::{Exchange, Scope};
use crate::upstream::connect::{Source, connect};
use crate::{listen, tcp};
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Carries the connection until both sides have closed, one has broken, or `go_on` says no.
pub async fn carry(
    mut io: Io,
    downstream: &Rc<Downstream>,
    opened: Option<TcpStream>,
    source: Source,
    mut exchange: Exchange,
    go_on: impl FnMut() -> bool,
) {
    let _in_flight = InFlight::new(downstream);
    exchange.upstream(downstream.original);
    let upstream = match opened {
        Some(opened) => Ok(opened),
        None => connect(downstream.original, source).await,
    };
    let mut upstream = match upstream {
        Ok(upstream) => Io::new(upstream, Bytes::new(), &Arc::default()),
        Err(error) => {
            exchange.failed(error);
            return io.meter().reset();
        }
    };
    let ended = tcp::copy(&mut io, &mut upstream, &mut exchange, go_on).await;
    if ended.is_err() {
        io.meter().reset();
        upstream.meter().reset();
    }
    note_end(&mut exchange, &ended);
}

/// Ends a connection that isn't carried at all, so that it looks as if nobody had listened, and notes why.
pub fn refuse(stream: TcpStream, downstream: &Downstream, scope: &Arc<Scope>, because: Error) {
    Exchange::opaque(&downstream.worker.telemetry, scope, downstream.peer, downstream.original).failed(because);
    listen::reset(stream);
}
