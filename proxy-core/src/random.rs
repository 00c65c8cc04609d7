//! Cheap random numbers, for shares of traffic, pauses and request ids. Never for secrets: who sees some can tell the
//! next ones.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

thread_local! {
    // the standard library's hash keys come from the kernel, and differ for each `RandomState`
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(std::thread::current().id()));
}

/// Evenly distributed over all of `u64`, from this thread's generator (splitmix64).
pub fn random() -> u64 {
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_as_often_one_as_zero_and_threads_differ() {
        let mut ones = [0_u32; 64];
        for _ in 0..10_000 {
            let number = random();
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += u32::from(number >> bit & 1 == 1);
            }
        }
        assert!(ones.iter().all(|count| (4500..5500).contains(count)), "{ones:?}");
        assert_ne!(std::thread::spawn(random).join().unwrap(), std::thread::spawn(random).join().unwrap());
    }
}
