//! The metrics of requests: what is counted most. Each worker has cells of its own, which it finds by comparing numbers;
//! a scrape sums them up. So counting a request costs some nanoseconds, whatever the labels, and no cache line is fought
//! for.

use super::metrics::{Label, LabelSet};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper ends of the histogram's buckets, in microseconds. A hop through the mesh takes tens of them, so the first
/// buckets are finer than those of Prometheus' defaults.
const BUCKETS: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];

/// A worker forgets its handles (not the counts) when it has this many: objects of replaced snapshots are in there too.
const CACHED: usize = 8192;

/// A metric in which each worker has a cell of its own for each label set.
#[derive(Debug)]
pub(super) struct PerWorker<const N: usize, C> {
    cells: Mutex<BTreeMap<LabelSet<N>, OfWorkers<C>>>,
}

/// Each with the worker's id.
type OfWorkers<C> = Vec<(u32, Arc<C>)>;

impl<const N: usize, C> Default for PerWorker<N, C> {
    fn default() -> Self {
        PerWorker { cells: Mutex::default() }
    }
}

impl<const N: usize, C: Default> PerWorker<N, C> {
    /// The worker's cell for these labels.
    pub(super) fn cell(&self, worker: u32, labels: LabelSet<N>) -> Arc<C> {
        let mut cells = lock(&self.cells);
        let workers = cells.entry(labels).or_default();
        if let Some((_, cell)) = workers.iter().find(|(id, _)| *id == worker) {
            return Arc::clone(cell);
        }
        let cell = Arc::new(C::default());
        workers.push((worker, Arc::clone(&cell)));
        cell
    }

    fn encode_each(
        &self,
        mut encoder: MetricEncoder<'_>,
        one: impl Fn(MetricEncoder<'_>, &[(u32, Arc<C>)]) -> fmt::Result,
    ) -> fmt::Result {
        lock(&self.cells).iter().try_for_each(|(labels, cells)| one(encoder.encode_family(labels)?, cells))
    }

    fn encode_sums(&self, encoder: MetricEncoder<'_>, of: impl Fn(&C) -> &AtomicU64) -> fmt::Result {
        self.encode_each(encoder, |mut encoder, cells| {
            let sum: u64 = cells.iter().map(|(_, cell)| of(cell).load(Relaxed)).sum();
            encoder.encode_counter::<NoLabelSet, _, u64>(&sum, None)
        })
    }
}

/// How long requests took, and how large they were.
#[derive(Debug, Default)]
pub(super) struct Timing {
    /// One for each of [`BUCKETS`], and one for what took longer.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Timing {
    fn observe(&self, duration: Duration, received: u64, sent: u64) {
        // 584 942 years
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|end| *end < micros);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
        if received > 0 {
            self.received.fetch_add(received, Relaxed);
        }
        if sent > 0 {
            self.sent.fetch_add(sent, Relaxed);
        }
    }
}

/// `outrigger_requests_total`.
#[derive(Debug)]
pub(super) struct Requests(pub(super) Arc<PerWorker<10, AtomicU64>>);

/// `outrigger_request_duration_seconds`.
#[derive(Debug)]
pub(super) struct Durations(pub(super) Arc<PerWorker<6, Timing>>);

/// `outrigger_{request,response}_body_bytes_total`.
#[derive(Debug)]
pub(super) struct Bytes {
    timings: Arc<PerWorker<6, Timing>>,
    of: fn(&Timing) -> &AtomicU64,
}

impl Bytes {
    pub(super) fn received(timings: &Arc<PerWorker<6, Timing>>) -> Bytes {
        Bytes { timings: Arc::clone(timings), of: |timing| &timing.received }
    }

    pub(super) fn sent(timings: &Arc<PerWorker<6, Timing>>) -> Bytes {
        Bytes { timings: Arc::clone(timings), of: |timing| &timing.sent }
    }
}

impl EncodeMetric for Requests {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode_sums(encoder, |cell| cell)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl EncodeMetric for Bytes {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.timings.encode_sums(encoder, self.of)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode_each(encoder, |mut encoder, cells| {
            let sum = |of: &dyn Fn(&Timing) -> u64| cells.iter().map(|(_, cell)| of(cell)).sum::<u64>();
            let ends = BUCKETS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> =
                ends.enumerate().map(|(at, end)| (end, sum(&|timing| timing.buckets[at].load(Relaxed)))).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let seconds = sum(&|timing| timing.micros.load(Relaxed)) as f64 / 1e6;
            encoder.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// A label set in numbers, comparable without looking at texts: objects by their ids, words by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) scope: u32,
    pub(super) route: u32,
    pub(super) cluster: u32,
    pub(super) status: u16,
    /// One more than the code; 0: none.
    pub(super) grpc_status: u8,
    pub(super) version: u8,
    /// gRPC or not, and one more than the error's place; 0: none.
    pub(super) grpc: bool,
    pub(super) error: u8,
}

impl std::hash::Hash for Key {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(u64::from(self.scope) << 32 | u64::from(self.route));
        let rest = u64::from(self.grpc_status) << 24
            | u64::from(self.version) << 16
            | u64::from(self.grpc) << 8
            | u64::from(self.error);
        hasher.write_u64(u64::from(self.cluster) << 32 | rest);
        hasher.write_u16(self.status);
    }
}

/// The cells of one label set, of one worker.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    pub(super) requests: Arc<AtomicU64>,
    pub(super) timing: Arc<Timing>,
}

/// The cells that a worker has used.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Only its own worker locks it.
    cells: Mutex<HashMap<Key, Cells, BuildHasherDefault<Mix>>>,
}

impl Cache {
    /// Counts a request; `find` is called for a label set that is new here.
    pub(super) fn record(&self, key: Key, duration: Duration, received: u64, sent: u64, find: impl FnOnce() -> Cells) {
        let mut cells = lock(&self.cells);
        if cells.len() >= CACHED && !cells.contains_key(&key) {
            cells.clear();
        }
        let cells = cells.entry(key).or_insert_with(find);
        cells.requests.fetch_add(1, Relaxed);
        cells.timing.observe(duration, received, sent);
    }
}

/// Multiply and rotate: the keys are numbers of our own, so nobody can choose them to collide.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `2xx` and so on.
pub(super) fn class(status: u16) -> Label {
    Label::Text(match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    })
}
