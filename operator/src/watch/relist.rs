//! One watch's list: whether it was complete once, and what a new list no longer has.
//!
//! While a list comes in, what was known stays known: it is taken away only when the list is whole and lacks it.

use std::collections::BTreeSet;

#[derive(Debug)]
pub struct Relist<K> {
    known: BTreeSet<K>,
    /// What the list has so far, while it comes in.
    fresh: Option<BTreeSet<K>>,
    complete: bool,
}

impl<K> Default for Relist<K> {
    fn default() -> Self {
        Relist { known: BTreeSet::new(), fresh: None, complete: false }
    }
}

impl<K: Ord + Clone> Relist<K> {
    pub fn begin(&mut self) {
        self.fresh = Some(BTreeSet::new());
    }

    pub fn applied(&mut self, key: K) {
        if let Some(fresh) = &mut self.fresh {
            fresh.insert(key.clone());
        }
        self.known.insert(key);
    }

    pub fn deleted(&mut self, key: &K) {
        if let Some(fresh) = &mut self.fresh {
            fresh.remove(key);
        }
        self.known.remove(key);
    }

    /// The list is whole. Gives what is gone.
    pub fn end(&mut self) -> Vec<K> {
        self.complete = true;
        let Some(fresh) = self.fresh.take() else { return Vec::new() };
        let gone = self.known.difference(&fresh).cloned().collect();
        self.known = fresh;
        gone
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether there was ever a whole list.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether what isn't known isn't there: no list is coming in.
    pub fn is_certain(&self) -> bool {
        self.complete && self.fresh.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_list_lacks_is_gone_only_when_the_list_is_whole() {
        let mut list = Relist::default();
        assert!(!list.is_complete());
        list.begin();
        for key in ["a", "b", "c"] {
            list.applied(key);
        }
        assert!(!list.is_complete() && !list.is_certain());
        assert_eq!(list.end(), Vec::<&str>::new());
        assert!(list.is_complete() && list.is_certain());
        list.applied("d");
        list.deleted(&"c");

        list.begin();
        list.applied("a");
        // the list broke off, and begins again
        list.begin();
        list.applied("b");
        assert!(list.is_complete() && !list.is_certain());
        assert_eq!(list.end(), ["a", "d"]);
        list.begin();
        assert_eq!(list.end(), ["b"]);
    }
}
