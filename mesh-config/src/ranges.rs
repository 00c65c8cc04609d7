//! Sets of numbers written as lists of numbers and ranges: `80,8000-8100,9090`. Ports and user ids use it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A set of numbers as sorted, disjoint, non-adjacent closed ranges.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ranges<T>(Vec<(T, T)>);

/// Ports 1 to 65535.
pub type PortSet = Ranges<u16>;
/// User ids 0 to 4294967294 (4294967295 is "no user" to the kernel, see chown(2)).
pub type UidSet = Ranges<u32>;

/// A number that can stand in a list.
pub trait Number: Copy + Ord + fmt::Display + FromStr + Into<u64> {
    const MIN: Self;
    const MAX: Self;
    const WHAT: &'static str;
}

impl Number for u16 {
    const MIN: u16 = 1;
    const MAX: u16 = u16::MAX;
    const WHAT: &'static str = "a port";
}

impl Number for u32 {
    const MIN: u32 = 0;
    const MAX: u32 = u32::MAX - 1;
    const WHAT: &'static str = "a user id";
}

/// Not a list of numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{item}' is not {what} or a range of them; write numbers from {min} to {max}, such as {example}")]
pub struct NotRanges {
    pub item: String,
    what: &'static str,
    min: String,
    max: String,
    example: &'static str,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Ranges(Vec::new())
    }
}

impl<T: Number> Ranges<T> {
    /// From closed ranges in any order; a range whose ends are the wrong way round holds nothing.
    pub fn new(ranges: impl IntoIterator<Item = (T, T)>) -> Self {
        let mut all: Vec<(T, T)> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        all.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match merged.last_mut() {
                Some(open) if first.into() <= open.1.into() + 1 => open.1 = open.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Ranges(merged)
    }

    /// From single numbers.
    pub fn of(numbers: impl IntoIterator<Item = T>) -> Self {
        Self::new(numbers.into_iter().map(|number| (number, number)))
    }

    pub fn contains(&self, number: T) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The closed ranges, sorted, disjoint, non-adjacent.
    pub fn iter(&self) -> impl Iterator<Item = (T, T)> + '_ {
        self.0.iter().copied()
    }

    /// Both together.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.iter().chain(other.iter()))
    }

    fn parse_item(item: &str) -> Option<(T, T)> {
        // digits only: FromStr would take "+80"
        let number = |text: &str| {
            let text = text.trim();
            let number: T = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())??;
            (T::MIN..=T::MAX).contains(&number).then_some(number)
        };
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some((first, last))
    }
}

impl<T: Number> FromStr for Ranges<T> {
    type Err = NotRanges;

    /// A comma-separated list; the empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, NotRanges> {
        if text.trim().is_empty() {
            return Ok(Ranges::default());
        }
        let error = |item: &str| NotRanges {
            item: item.trim().to_owned(),
            what: T::WHAT,
            min: T::MIN.to_string(),
            max: T::MAX.to_string(),
            example: "80 or 8000-8100",
        };
        let items = text.split(',').map(|item| Self::parse_item(item).ok_or_else(|| error(item)));
        Ok(Self::new(items.collect::<Result<Vec<_>, _>>()?))
    }
}

impl<T: Number> fmt::Display for Ranges<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

impl<T: Number> Serialize for Ranges<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: Number> Deserialize<'de> for Ranges<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_merged_and_written_back() {
        for (text, back) in [
            ("", ""),
            ("80", "80"),
            ("9090, 80,81", "80-81,9090"),
            ("8000-8100,8050-8200,8201", "8000-8201"),
            ("1-65535", "1-65535"),
            ("65535,65534", "65534-65535"),
        ] {
            assert_eq!(text.parse::<PortSet>().unwrap().to_string(), back, "{text}");
        }
        assert_eq!("0,4294967294".parse::<UidSet>().unwrap().to_string(), "0,4294967294");
    }

    #[test]
    fn an_item_that_is_not_a_number_or_range_is_named() {
        for (text, item) in [
            ("80,http", "http"),
            ("0", "0"),
            ("65536", "65536"),
            ("90-80", "90-80"),
            ("80,", ""),
            ("-1", "-1"),
            ("+80", "+80"),
        ] {
            assert_eq!(text.parse::<PortSet>().unwrap_err().item, item, "{text}");
        }
        assert_eq!("4294967295".parse::<UidSet>().unwrap_err().item, "4294967295");
    }
}
