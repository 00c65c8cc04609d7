//! What wants to be done, by key: each key at most once at a time, and after a failure later and later.
//!
//! It holds no work, only keys: what is to be done is decided when a key's turn comes, from what is known then. Time is
//! passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// After a first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// An API server that is away for an hour must not be forgotten for another one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Queue<K> {
    due: BTreeMap<K, Instant>,
    running: BTreeSet<K>,
    failures: BTreeMap<K, u32>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Queue { due: BTreeMap::new(), running: BTreeSet::new(), failures: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// Not before `at`. A key that waits already keeps the earlier time; one that failed keeps its pause.
    pub fn add(&mut self, key: K, at: Instant) {
        if self.failures.contains_key(&key) && self.due.contains_key(&key) {
            return;
        }
        let due = self.due.entry(key).or_insert(at);
        *due = at.min(*due);
    }

    /// The first key whose time has come and that isn't under way; it is under way from now on.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        let due = self.due.iter().find(|(key, at)| **at <= now && !self.running.contains(key));
        let key = due.map(|(key, _)| key.clone())?;
        self.due.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    /// When `pop` will have something, if nothing happens before.
    pub fn next(&self) -> Option<Instant> {
        self.due.iter().filter(|(key, _)| !self.running.contains(key)).map(|(_, at)| *at).min()
    }

    pub fn running(&self) -> usize {
        self.running.len()
    }

    pub fn succeeded(&mut self, key: &K) {
        self.running.remove(key);
        self.failures.remove(key);
    }

    /// It is due again, later than the last time.
    pub fn failed(&mut self, key: &K, now: Instant) {
        self.running.remove(key);
        let failures = self.failures.entry(key.clone()).or_insert(0);
        let pause = FIRST_PAUSE.saturating_mul(1 << (*failures).min(6)).min(LONGEST_PAUSE);
        *failures += 1;
        self.due.insert(key.clone(), now + pause);
    }

    /// Nothing wants to be done, and what is under way is nobody's.
    pub fn clear(&mut self) {
        *self = Queue::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_once_and_runs_once_at_a_time() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let mut queue = Queue::default();
        queue.add("b", now);
        queue.add("b", later);
        queue.add("a", later);
        assert_eq!((queue.pop(now), queue.pop(now)), (Some("b"), None));
        queue.add("b", now);
        assert_eq!((queue.pop(now), queue.next()), (None, Some(later)), "b runs");
        queue.succeeded(&"b");
        assert_eq!((queue.pop(now), queue.running()), (Some("b"), 1));
        queue.add("a", now);
        assert_eq!(queue.pop(now), Some("a"));
    }

    #[test]
    fn a_key_that_fails_waits_longer_each_time_whatever_is_added() {
        let mut now = Instant::now();
        let mut queue = Queue::default();
        queue.add("a", now);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(queue.pop(now), Some("a"));
            queue.failed(&"a", now);
            queue.add("a", now);
            assert_eq!(queue.next(), Some(now + Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
        }
        assert_eq!(queue.pop(now), Some("a"));
        queue.succeeded(&"a");
        queue.add("a", now);
        assert_eq!(queue.next(), Some(now));
    }
}
