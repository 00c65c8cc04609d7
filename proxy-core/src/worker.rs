//! What one worker thread has: its own pool and counters, and its view of what all share. It has no logic.

use crate::addr::OriginalDst;
use crate::drain::{Load, Phase, Phases};
use crate::snapshot::Snapshot;
use crate::telemetry::{self, AccessLog, Direction, Scope, Telemetry};
use crate::upstream::pool::Pool;
use arc_swap::{ArcSwapOption, cache::Cache};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    pub snapshot: Arc<ArcSwapOption<Snapshot>>,
    pub phases: Phases,
    pub original_dst: Arc<dyn OriginalDst>,
    /// Ports that we listen on, beside those of the product's table.
    pub own_ports: Vec<u16>,
    pub telemetry: Arc<Telemetry>,
    /// By number of the worker.
    pub loads: Vec<Load>,
}

/// One worker's things.
#[derive(Debug)]
pub struct Worker {
    pub shared: Arc<Shared>,
    pub number: usize,
    pub telemetry: Arc<telemetry::Worker>,
    /// Of connections that are refused before anything is known of them: inbound, outbound.
    refused: [Arc<Scope>; 2],
    pub pool: Rc<Pool>,
    snapshot: RefCell<InForce>,
}

/// Looking whether another one is in force costs a nanosecond, not a locked instruction.
type InForce = Cache<Arc<ArcSwapOption<Snapshot>>, Option<Arc<Snapshot>>>;

/// What was made of a snapshot, and of which.
#[derive(Debug)]
pub struct Memo<T>(RefCell<Option<(u64, T)>>);

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Memo(RefCell::new(None))
    }
}

impl Worker {
    pub fn new(shared: &Arc<Shared>, number: usize) -> Worker {
        Worker {
            shared: Arc::clone(shared),
            number,
            telemetry: shared.telemetry.worker(),
            refused: [Direction::Inbound, Direction::Outbound]
                .map(|direction| Arc::new(Scope::new(direction, "", None, AccessLog::default()))),
            pool: Rc::default(),
            snapshot: RefCell::new(Cache::new(Arc::clone(&shared.snapshot))),
        }
    }

    /// What is in force now; `None`: nothing has ever been.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.borrow_mut().load().clone()
    }

    /// What one connection needs of the configuration in force: made anew only when that has changed.
    pub fn of_snapshot<T: Clone>(&self, memo: &Memo<T>, make: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        let mut in_force = self.snapshot.borrow_mut();
        let snapshot = in_force.load().as_ref()?;
        let mut made = memo.0.borrow_mut();
        match &*made {
            Some((generation, value)) if *generation == snapshot.generation => Some(value.clone()),
            _ => Some(made.insert((snapshot.generation, make(snapshot))).1.clone()),
        }
    }

    /// A worker without listeners.
    #[cfg(test)]
    pub(crate) fn for_test() -> Rc<Worker> {
        let shared = Shared {
            snapshot: Arc::default(),
            phases: Phases::default(),
            original_dst: Arc::new(crate::addr::Kernel),
            own_ports: vec![],
            telemetry: Telemetry::new(),
            loads: vec![Load::default()],
        };
        Rc::new(Worker::new(&Arc::new(shared), 0))
    }

    pub fn refused(&self, direction: Direction) -> &Arc<Scope> {
        &self.refused[usize::from(direction == Direction::Outbound)]
    }

    pub fn phase(&self) -> Phase {
        self.shared.phases.get()
    }

    pub fn load(&self) -> &Load {
        &self.shared.loads[self.number]
    }
}
