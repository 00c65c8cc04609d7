//! Which requests the access log writes: comparisons joined by `&&` and `||` (`&&` binds tighter, no parentheses):
//! `status >= 500 || duration > 1s`.

use crate::Duration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, time};

/// A filter in disjunctive form: any of the groups, all of a group's comparisons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    text: String,
    any: Vec<Vec<Comparison>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Comparison {
    field: Field,
    operator: Operator,
    /// The status code, or milliseconds.
    value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Status,
    Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    AtLeast,
    AtMost,
    Above,
    Below,
    Equal,
    NotEqual,
}

/// Longer ones first: `>=` begins with `>`.
const OPERATORS: [(&str, Operator); 6] = [
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    (">", Operator::Above),
    ("<", Operator::Below),
];

impl Filter {
    /// Whether a request with this answer is written. An opaque connection has status 0.
    pub fn matches(&self, status: u16, duration: time::Duration) -> bool {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.any.iter().any(|all| {
            all.iter().all(|comparison| {
                let value = match comparison.field {
                    Field::Status => u64::from(status),
                    Field::Duration => millis,
                };
                match comparison.operator {
                    Operator::AtLeast => value >= comparison.value,
                    Operator::AtMost => value <= comparison.value,
                    Operator::Above => value > comparison.value,
                    Operator::Below => value < comparison.value,
                    Operator::Equal => value == comparison.value,
                    Operator::NotEqual => value != comparison.value,
                }
            })
        })
    }
}

/// Not a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a comparison; write status or duration, one of >= <= == != > <, and a number or duration, such as \
     status >= 500 || duration > 1s"
)]
pub struct NotAFilter(pub String);

impl FromStr for Filter {
    type Err = NotAFilter;

    fn from_str(text: &str) -> Result<Self, NotAFilter> {
        let comparison = |part: &str| parse_comparison(part).ok_or_else(|| NotAFilter(part.trim().to_owned()));
        let any = text
            .split("||")
            .map(|group| group.split("&&").map(comparison).collect::<Result<Vec<_>, _>>())
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Filter { text: text.to_owned(), any })
    }
}

fn parse_comparison(part: &str) -> Option<Comparison> {
    let part = part.trim();
    let at = part.find(['>', '<', '=', '!'])?;
    let (field, rest) = part.split_at(at);
    let (sign, operator) = OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign))?;
    let value = rest[sign.len()..].trim();
    let (field, value) = match field.trim() {
        "status" => (Field::Status, value.parse::<u16>().ok().filter(|status| *status <= 999)?.into()),
        "duration" => (Field::Duration, u64::try_from(value.parse::<Duration>().ok()?.as_std().as_millis()).ok()?),
        _ => return None,
    };
    Some(Comparison { field, operator: *operator, value })
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conjunction_binds_tighter_than_disjunction() {
        let filter: Filter = "status>=500 && status != 503 || duration > 1s".parse().unwrap();
        for (status, millis, want) in [(500, 0, true), (503, 0, false), (503, 1001, true), (200, 1000, false)] {
            assert_eq!(filter.matches(status, time::Duration::from_millis(millis)), want, "{status} {millis}");
        }
    }

    #[test]
    fn names_the_part_that_is_not_a_comparison() {
        for (text, part) in [
            ("", ""),
            ("status", "status"),
            ("status >= x", "status >= x"),
            ("status >= 500 ||", ""),
            ("path == 1", "path == 1"),
            ("duration > 5", "duration > 5"),
            ("status = 5", "status = 5"),
            ("status >= 500 && é > 1", "é > 1"),
        ] {
            assert_eq!(text.parse::<Filter>(), Err(NotAFilter(part.into())), "{text}");
        }
    }
}
