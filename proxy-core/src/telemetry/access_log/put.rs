//! Writing values into a line, without `fmt`: a line is written for every request.

use super::CUT;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub(super) fn number(out: &mut Vec<u8>, mut number: u64) {
    // u64::MAX has 20 digits
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend(&digits[at..]);
}

/// The last `N` digits.
fn padded<const N: usize>(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend(digits);
}

/// Milliseconds with three decimals.
pub(super) fn millis(out: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    out.push(b'.');
    padded::<3>(out, micros);
}

/// `2026-11-21T12:00:00.000Z`.
pub(super) fn time(out: &mut Vec<u8>, since_epoch: Duration) {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let second = seconds % 86_400;
    padded::<4>(out, year);
    for (sign, part) in
        [(b'-', month), (b'-', day), (b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)]
    {
        out.push(sign);
        padded::<2>(out, part);
    }
    out.push(b'.');
    padded::<3>(out, since_epoch.subsec_millis().into());
    out.push(b'Z');
}

/// Days since 1970-01-01 as year, month, day of the Gregorian calendar. (Howard Hinnant, "chrono-compatible low-level
/// date algorithms", civil_from_days: years begin in March there, so that the leap day is a year's last.)
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

/// IPv4-mapped addresses as the IPv4 address that they are.
pub(super) fn socket(out: &mut Vec<u8>, address: SocketAddr) {
    use std::io::Write as _;
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            number(out, a.into());
            for octet in [b, c, d] {
                out.push(b'.');
                number(out, octet.into());
            }
        }
        // writing to a Vec can't fail
        IpAddr::V6(ip) => drop(write!(out, "[{ip}]")),
    }
    out.push(b':');
    number(out, address.port().into());
}

fn cut(text: &[u8]) -> &[u8] {
    text.get(..CUT).unwrap_or(text)
}

/// Whether neither format has to escape anything: nearly every text.
fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~') & (*byte != b'"') & (*byte != b'\\'))
}

/// For the text format: what isn't printable ASCII as `\xHH`.
pub(super) fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    let text = cut(text);
    if is_plain(text) {
        return out.extend(text);
    }
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            b' '..=b'~' => out.push(*byte),
            _ => {
                out.extend(b"\\x");
                hex(out, *byte);
            }
        }
    }
}

fn hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
}

/// In quotes; an absent one as `-` without.
pub(super) fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_empty() {
        out.push(b'-');
        return;
    }
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// `,"name":number`.
pub(super) fn json_number(out: &mut Vec<u8>, name: &str, value: u64) {
    json_name(out, name);
    number(out, value);
}

/// `,"name":"text"`, or nothing where it is empty.
pub(super) fn json_text(out: &mut Vec<u8>, name: &str, text: &[u8]) {
    if text.is_empty() {
        return;
    }
    json_name(out, name);
    out.push(b'"');
    if is_plain(text) {
        out.extend(cut(text));
    } else {
        json_escaped(out, text);
    }
    out.push(b'"');
}

fn json_name(out: &mut Vec<u8>, name: &str) {
    out.extend(b",\"");
    out.extend(name.as_bytes());
    out.extend(b"\":");
}

/// What isn't UTF-8 becomes U+FFFD; control characters, the newer ones (C1) and line separators too, are escaped.
fn json_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for char in String::from_utf8_lossy(cut(text)).chars() {
        match char {
            '"' | '\\' => out.extend([b'\\', char as u8]),
            // all of these are in the first plane
            _ if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') => {
                out.extend(b"\\u");
                hex(out, (u32::from(char) >> 8) as u8);
                hex(out, u32::from(char) as u8);
            }
            _ => out.extend(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        // `date -u -d @N +%FT%T`
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_795_262_400, "2026-11-21T12:00:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(written(|out| time(out, Duration::from_secs(seconds))), want);
        }
        assert_eq!(written(|out| time(out, Duration::from_millis(1_007))), "1970-01-01T00:00:01.007Z");
    }

    #[test]
    fn numbers_are_written_as_fmt_does() {
        for n in [0, 7, 10, 12_345, u64::MAX] {
            assert_eq!(written(|out| number(out, n)), n.to_string());
        }
        for (micros, want) in [(0, "0.000"), (1, "0.001"), (1_234_567, "1234.567")] {
            assert_eq!(written(|out| millis(out, Duration::from_micros(micros))), want);
        }
        for (address, want) in [
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[fd00::1]:65535", "[fd00::1]:65535"),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
        ] {
            assert_eq!(written(|out| socket(out, address.parse().unwrap())), want);
        }
    }

    #[test]
    fn no_text_ends_its_field_or_its_line() {
        let hostile: Vec<u8> = (0..=255).chain("\u{85}\u{2028}é".bytes()).collect();
        let text = written(|out| quoted(out, &hostile));
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        let inside = &text[1..text.len() - 1];
        assert_eq!(inside.replace("\\\\", "").replace("\\\"", "").matches('"').count(), 0, "{text}");

        let json = written(|out| json_text(out, "a", &hostile));
        let read: serde_json::Value = serde_json::from_str(&format!("{{{}}}", &json[1..])).unwrap();
        assert_eq!(read["a"], *String::from_utf8_lossy(&hostile));
        assert!(!json.chars().any(char::is_control), "{json}");
    }

    #[test]
    fn long_texts_are_cut() {
        let long = vec![b'x'; CUT + 1];
        assert_eq!(written(|out| quoted(out, &long)).len(), CUT + 2);
        assert_eq!(written(|out| json_text(out, "a", &long)).len(), CUT + 7);
    }
}
