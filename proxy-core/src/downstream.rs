//! What is known of a caller's connection while it is served, and what of it is in flight.

use crate::io::Meter;
use crate::upstream::connect::Source;
use crate::upstream::pool::{Key, Slot};
use crate::worker::Worker;
use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// One caller's connection.
#[derive(Debug)]
pub struct Downstream {
    pub worker: Rc<Worker>,
    pub peer: SocketAddr,
    /// Where it was going before it was redirected to us.
    pub original: SocketAddr,
    pub meter: Arc<Meter>,
    slot: OnceCell<Rc<Slot>>,
}

impl Downstream {
    pub fn new(worker: Rc<Worker>, peer: SocketAddr, original: SocketAddr) -> Downstream {
        Downstream { worker, peer, original, meter: Arc::default(), slot: OnceCell::new() }
    }

    /// The pool's connections to where it was going: held, since most requests go there. `source` is always the same for
    /// one connection: it goes out, or it comes in.
    pub fn slot(&self, source: Source) -> &Rc<Slot> {
        self.slot.get_or_init(|| self.worker.pool.slot(Key { address: self.original, source }))
    }
}

/// Something that should come to its end before the proxy does: a request, or an opaque connection.
#[derive(Debug)]
pub struct InFlight {
    downstream: Rc<Downstream>,
}

impl InFlight {
    pub fn new(downstream: &Rc<Downstream>) -> InFlight {
        downstream.worker.load().began();
        downstream.meter.begin();
        InFlight { downstream: Rc::clone(downstream) }
    }

    pub fn meter(&self) -> &Meter {
        &self.downstream.meter
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.downstream.worker.load().ended();
        self.downstream.meter.end();
    }
}
