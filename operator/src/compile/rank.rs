//! Which of two policies wins: the more specific target, then the higher priority, then the older, then the name that
//! sorts first (`meshpolicy.md`, "Which wins"). Position never decides anything.

use crate::index::{Key, Policy};
use jiff::Timestamp;
use std::cmp::Reverse;

/// Greater wins. Equal only for one policy and targets of one sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank<'a> {
    specificity: u8,
    priority: i32,
    created: Reverse<Timestamp>,
    key: Reverse<&'a Key>,
}

impl<'a> Rank<'a> {
    pub fn of(policy: &'a Policy, specificity: u8) -> Self {
        Rank {
            specificity,
            priority: policy.reading.priority,
            created: Reverse(policy.created()),
            key: Reverse(&policy.key),
        }
    }
}
