//! Durations as Gateway API writes them (GEP-2257): `^([0-9]{1,5}(h|m|s|ms)){1,4}$`. The one parser for every duration
//! that a person writes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, time};

/// A duration of whole milliseconds. Zero means "off" where the field says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(time::Duration);

/// The units with their length in milliseconds, largest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Duration {
    pub const fn from_millis(millis: u64) -> Self {
        Duration(time::Duration::from_millis(millis))
    }

    pub const fn from_secs(seconds: u64) -> Self {
        Duration(time::Duration::from_secs(seconds))
    }

    pub const fn as_std(self) -> time::Duration {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// `None` for zero: for fields where zero means off.
    pub const fn nonzero(self) -> Option<time::Duration> {
        if self.0.is_zero() { None } else { Some(self.0) }
    }
}

/// Not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a duration; write up to four numbers with units, such as 500ms, 5s or 1m30s")]
pub struct NotADuration(pub String);

impl FromStr for Duration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let error = || NotADuration(text.to_owned());
        let (mut rest, mut millis, mut parts) = (text, 0, 0);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let unit_len = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
            // "1m30s": a unit ends where the next digit begins
            let unit = &rest[digits..digits + unit_len];
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
            parts += 1;
            if !(1..=5).contains(&digits) || parts > 4 {
                return Err(error());
            }
            // at most 4 parts of 99999 hours: far from overflowing
            millis += rest[..digits].parse::<u64>().map_err(|_| error())? * factor;
            rest = &rest[digits + unit_len..];
        }
        if parts == 0 { Err(error()) } else { Ok(Duration::from_millis(millis)) }
    }
}

impl fmt::Display for Duration {
    /// The shortest form that [`FromStr`] reads back to the same value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, factor) in UNITS {
            // five digits a part; what is over 99999h can't come from a parser
            if rest / factor > 0 {
                write!(f, "{}{name}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_gateway_api_allows_and_writes_it_back() {
        for (text, millis, back) in [
            ("500ms", 500, "500ms"),
            ("5s", 5000, "5s"),
            ("1m30s", 90_000, "1m30s"),
            ("90s", 90_000, "1m30s"),
            ("0s", 0, "0s"),
            ("1h1m1s1ms", 3_661_001, "1h1m1s1ms"),
            ("99999h", 99_999 * 3_600_000, "99999h"),
        ] {
            let read: Duration = text.parse().unwrap();
            assert_eq!((read, read.to_string().as_str()), (Duration::from_millis(millis), back), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "5", "s", "5 s", "-5s", "1.5s", "100000s", "5sec", "1s1s1s1s1s", "5S", "5s ", "٣s", "1us"] {
            assert_eq!(text.parse::<Duration>(), Err(NotADuration(text.into())));
        }
    }
}
