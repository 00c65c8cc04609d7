//! Kubernetes quantities by value: `0.5` is `500m`, `1024Mi` is `1Gi`. The API server writes them back in its own
//! form, so texts can't be compared.

use serde_json::Value;

/// Billionths (the finest that Kubernetes keeps). Ordered by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantity(i128);

const BILLION: i128 = 1_000_000_000;

/// Suffix and its factor in billionths (Kubernetes docs, "Quantity").
const SUFFIXES: [(&str, i128); 16] = [
    ("", BILLION),
    ("n", 1),
    ("u", 1000),
    ("m", 1_000_000),
    ("k", 1000 * BILLION),
    ("M", 1_000_000 * BILLION),
    ("G", BILLION * BILLION),
    ("T", 1000 * BILLION * BILLION),
    ("P", 1_000_000 * BILLION * BILLION),
    ("E", BILLION * BILLION * BILLION),
    ("Ki", BILLION << 10),
    ("Mi", BILLION << 20),
    ("Gi", BILLION << 30),
    ("Ti", BILLION << 40),
    ("Pi", BILLION << 50),
    ("Ei", BILLION << 60),
];

impl Quantity {
    /// `None` for what isn't one, is negative, or too large to exist. Exponents (`1e3`) are read too.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('+');
        let number_len = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, suffix) = text.split_at(number_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let (factor, divisor) = factor(suffix)?;
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scaled = digits.checked_mul(factor)?;
        let divisor = divisor.checked_mul(10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
        // Kubernetes rounds up what is finer than it keeps
        Some(Quantity(scaled / divisor + i128::from(scaled % divisor != 0)))
    }

    /// From a manifest, where a number is allowed too.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// What to multiply by and what to divide by.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    if let Some((_, factor)) = SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        return Some((*factor, 1));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    if exponent < 0 { Some((BILLION, power)) } else { Some((BILLION.checked_mul(power)?, 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_amount_is_equal_however_it_is_written() {
        for (one, other) in [
            ("0.5", "500m"),
            ("1", "1000m"),
            (".5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("1E-3", "1m"),
            ("128974848", "123Mi"),
            ("+1", "1."),
            ("0.1n", "1n"),
        ] {
            assert!(Quantity::parse(one).is_some(), "{one}");
            assert_eq!(Quantity::parse(one), Quantity::parse(other), "{one} {other}");
        }
        assert!(Quantity::parse("1M") < Quantity::parse("1Mi"));
        assert_eq!(Quantity::of(&json!(2)), Quantity::parse("2"));
        assert_eq!(Quantity::of(&json!(0.5)), Quantity::parse("500m"));
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for text in ["", ".", "m", "1.2.3", "1 Gi", "-1", "1Mb", "1e", "e3", "99999999999999999999Ei", "1e99"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
        assert_eq!(Quantity::of(&Value::Null), None);
    }
}
