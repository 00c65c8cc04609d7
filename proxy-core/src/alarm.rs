//! Coarse timers and wake-ups of one worker thread, cheap enough to have one for every request.
//!
//! A timer of the runtime costs a clock reading and a lock at each request; here an alarm is a slot in a thread-local
//! table, looked at by one task. An alarm rings late, by up to half of its time and never by more than two seconds, and
//! never early: right for "silent for five minutes", wrong for a request's timeout.
//!
//! The same table wakes everything that waits on this thread, when a connection must look whether the configuration
//! changed or the proxy is about to stop ([`wake_all`]).

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};
use std::{marker::PhantomData, rc::Rc, time::Duration};
use tokio::{sync::Notify, time::Instant};

/// Milliseconds since the thread's clock began, as of its last look at the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// How long ago this was.
    pub fn elapsed(self) -> Duration {
        Duration::from_millis(now().0.saturating_sub(self.0))
    }

    /// For where a number is kept; see [`Tick::from_millis`].
    pub fn as_millis(self) -> u64 {
        self.0
    }

    pub fn from_millis(millis: u64) -> Tick {
        Tick(millis)
    }
}

/// The coarse time. Where something waits for an alarm it is behind by at most a second.
pub fn now() -> Tick {
    Tick(NOW.get())
}

/// Between two looks at the clock, at most.
const LONGEST_PERIOD: u64 = 1000;
/// And at least.
const SHORTEST_PERIOD: u64 = 5;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    static TABLE: RefCell<Table> = const { RefCell::new(Table { slots: Vec::new(), free: Vec::new(), period: None }) };
    static CLOCK: Rc<Notify> = Rc::new(Notify::new());
}

struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// How often the clock is looked at; `None`: nobody waits.
    period: Option<u64>,
}

#[derive(Default)]
struct Slot {
    /// Rings once the clock shows `.0`, and wants it looked at every `.1`.
    at: Option<(u64, u64)>,
    rung: bool,
    waker: Option<Waker>,
}

/// One alarm. It is of its thread.
#[derive(Debug)]
pub struct Alarm {
    index: u32,
    _of_this_thread: PhantomData<*const ()>,
}

impl Default for Alarm {
    fn default() -> Self {
        Self::new()
    }
}

impl Alarm {
    /// An alarm that never rings by itself, but hears [`wake_all`].
    pub fn new() -> Alarm {
        let index = TABLE.with_borrow_mut(|table| {
            table.free.pop().unwrap_or_else(|| {
                table.slots.push(Slot::default());
                u32::try_from(table.slots.len() - 1).expect("an alarm belongs to a task, and so many don't fit memory")
            })
        });
        Alarm { index, _of_this_thread: PhantomData }
    }

    pub fn after(wait: Duration) -> Alarm {
        let alarm = Alarm::new();
        alarm.set(wait);
        alarm
    }

    /// Rings after this time; an earlier setting is forgotten.
    pub fn set(&self, wait: Duration) {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 4);
        let own_period = (wait / 4).clamp(SHORTEST_PERIOD, LONGEST_PERIOD);
        let sooner = self.with(|table, slot| {
            let sooner = table.period.is_none_or(|period| own_period < period);
            if sooner {
                look_at_the_clock();
                table.period = Some(own_period);
            }
            // the coarse time may be a whole period behind the clock
            let at = NOW.get() + wait + table.period.unwrap_or(0);
            table.slots[slot] = Slot { at: Some((at, own_period)), rung: false, waker: table.slots[slot].waker.take() };
            sooner
        });
        if sooner {
            CLOCK.with(|clock| clock.notify_one());
        }
    }

    /// Whether it rang, or everything was woken, since the last time that this was ready.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.with(|table, slot| {
            let slot = &mut table.slots[slot];
            if std::mem::take(&mut slot.rung) {
                return Poll::Ready(());
            }
            if slot.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                slot.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    /// [`poll`](Self::poll) as a future.
    pub fn rung(&self) -> impl Future<Output = ()> + '_ {
        std::future::poll_fn(|cx| self.poll(cx))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Table, usize) -> T) -> T {
        TABLE.with_borrow_mut(|table| f(table, self.index as usize))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // at the end of a thread its table may be gone before the tasks are
        let _ = TABLE.try_with(|table| {
            let mut table = table.borrow_mut();
            table.free.push(self.index);
            let waker = std::mem::take(&mut table.slots[self.index as usize]).waker;
            // dropping the last waker of a task may drop the task, with alarms of its own
            drop(table);
            drop(waker);
        });
    }
}

/// Rings every alarm of this thread.
pub fn wake_all() {
    ring(|_| true);
}

fn ring(due: impl Fn(&Slot) -> bool) {
    let woken: Vec<Waker> = TABLE.with_borrow_mut(|table| {
        let slots = table.slots.iter_mut().filter(|slot| due(slot));
        slots
            .filter_map(|slot| {
                slot.rung = true;
                slot.waker.take()
            })
            .collect()
    });
    woken.into_iter().for_each(Waker::wake);
}

fn look_at_the_clock() {
    let began = BEGAN.get().unwrap_or_else(|| {
        let now = Instant::now();
        BEGAN.set(Some(now));
        now
    });
    NOW.set(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX / 4));
}

/// The clock of this thread: run it as a task of its own, once. It sleeps while nobody waits.
pub async fn run() {
    let clock = CLOCK.with(Rc::clone);
    loop {
        look_at_the_clock();
        let now = NOW.get();
        ring(|slot| slot.at.is_some_and(|(at, _)| at <= now));
        let period = TABLE.with_borrow_mut(|table| {
            let mut period = None;
            for slot in &mut table.slots {
                slot.at = slot.at.filter(|(at, _)| *at > now);
                period = period.into_iter().chain(slot.at.map(|(_, period)| period)).min();
            }
            table.period = period;
            period
        });
        match period {
            Some(period) => _ = tokio::time::timeout(Duration::from_millis(period), clock.notified()).await,
            None => clock.notified().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these tests has its thread, and so its table, for itself.
    fn with_clock<F: Future>(test: impl FnOnce() -> F) -> F::Output {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build_local(Default::default()).unwrap();
        runtime.block_on(async {
            tokio::task::spawn_local(run());
            test().await
        })
    }

    #[test]
    fn an_alarm_never_rings_early_and_little_late() {
        with_clock(|| async {
            for wait in [0, 1, 20, 100, 999, 5000, 300_000] {
                // by chance the clock is looked at anywhere in between
                tokio::time::sleep(Duration::from_millis(wait % 7 * 131)).await;
                let (began, wait) = (Instant::now(), Duration::from_millis(wait));
                Alarm::after(wait).rung().await;
                let late = began.elapsed().checked_sub(wait).expect("not early");
                assert!(
                    late <= (wait / 2).clamp(Duration::from_millis(12), Duration::from_secs(2)),
                    "{wait:?}: {late:?}"
                );
            }
        });
    }

    #[test]
    fn a_short_alarm_beside_long_ones_is_precise() {
        with_clock(|| async {
            let long: Vec<_> = (0..100).map(|_| Alarm::after(Duration::from_secs(3600))).collect();
            tokio::time::sleep(Duration::from_millis(1777)).await;
            let began = Instant::now();
            Alarm::after(Duration::from_millis(40)).rung().await;
            assert!((Duration::from_millis(40)..Duration::from_millis(70)).contains(&began.elapsed()));
            drop(long);
        });
    }

    #[test]
    fn setting_again_forgets_the_earlier_time() {
        with_clock(|| async {
            let began = Instant::now();
            let alarm = Alarm::after(Duration::from_secs(1));
            alarm.set(Duration::from_secs(60));
            alarm.rung().await;
            assert!(began.elapsed() >= Duration::from_secs(60));
        });
    }

    #[test]
    fn everything_is_woken_even_what_never_rings() {
        with_clock(|| async {
            let alarm = Alarm::new();
            let waiting = tokio::task::spawn_local(async move { alarm.rung().await });
            tokio::task::yield_now().await;
            wake_all();
            waiting.await.unwrap();
        });
    }

    #[test]
    fn slots_are_used_again() {
        with_clock(|| async {
            for _ in 0..1000 {
                drop(Alarm::after(Duration::from_secs(1)));
            }
            assert_eq!(TABLE.with_borrow(|table| table.slots.len()), 1);
        });
    }
}
