//! How servers may read a request's path. A Deny on `/admin` must not be walked around by `//admin`, `/./admin`,
//! `/%61dmin`, `/x/../admin` or `/admin;v=1`, and an Allow on `/public` must not let `/public/../admin` pass. Which of
//! these an application takes for `/admin` differs from one to the next, so a path has three readings:
//!
//! | reading | what is done | who reads so |
//! |---|---|---|
//! | raw | nothing | strict servers |
//! | plain | `%XX` decoded once, `//` merged, `.` and `..` resolved | most |
//! | lax | `%XX` decoded until nothing changes, `\` taken for `/`, `;…` cut from each segment, then as plain | the most lenient |
//!
//! A Deny matches if any reading does; an Allow only if plain and lax both do. So an application sees no path by another
//! name than the policy did, however it reads. A path that is written to be misread is *ambiguous*: every Deny with paths
//! matches it, and no Allow with paths does. That is one with control characters or overlong UTF-8 (`%00`, `%c0%af`), one
//! whose second decoding gives a character that structures paths (`%252e`, `%252f`), and one with `.` or `..` that only
//! some servers see (`..;`, `..\`): servers differ in the order in which they cut, decode and resolve, and there are more
//! orders than readings.
//!
//! What is not done: upper and lower case differ, and so do `/a` and `/a/` for an exact match. The path that is
//! forwarded is the raw one: a mesh doesn't change what the application sees.

use std::borrow::Cow;

/// How often a path is decoded at most; more layers than that are ambiguous.
const LAYERS: usize = 4;

/// The readings of one path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Readings<'a> {
    raw: &'a str,
    /// `None`: the same as raw.
    plain: Option<String>,
    lax: Option<String>,
    ambiguous: bool,
}

impl<'a> Readings<'a> {
    pub(crate) fn new(raw: &'a str) -> Readings<'a> {
        if is_plain(raw.as_bytes()) {
            return Readings { raw, plain: None, lax: None, ambiguous: false };
        }
        let once = percent_decoded(raw.as_bytes());
        let (mut all, mut layers) = (once.clone().into_owned(), 1);
        loop {
            let next = percent_decoded(&all);
            if *next == all || layers == LAYERS {
                break;
            }
            (all, layers) = (next.into_owned(), layers + 1);
        }
        let ambiguous = layers == LAYERS
            || is_ambiguous(&once)
            || is_ambiguous(&all)
            || hides_structure(&once)
            || disguises_dots(&all);
        let lax: Vec<u8> = all.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
        Readings { raw, plain: Some(resolved(&once, false)), lax: Some(resolved(&lax, true)), ambiguous }
    }

    /// For a Deny: could this path be one that the condition is about?
    pub(crate) fn any(&self, matches: impl Fn(&str) -> bool) -> bool {
        self.ambiguous || matches(self.raw) || [&self.plain, &self.lax].into_iter().flatten().any(|path| matches(path))
    }

    /// For an Allow: is this path certainly one that the condition is about?
    pub(crate) fn all(&self, matches: impl Fn(&str) -> bool) -> bool {
        let plain = self.plain.as_deref().unwrap_or(self.raw);
        let lax = self.lax.as_deref().unwrap_or(self.raw);
        !self.ambiguous && matches(plain) && matches(lax)
    }
}

/// Whether all readings are the same: nearly every path. What it lets through must be that; what it doesn't may.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for byte in path {
        let special = matches!(byte, b'%' | b';' | b'\\' | 0..0x20 | 0x7f..);
        if special || (before == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        before = *byte;
    }
    path.first() == Some(&b'/')
}

fn is_ambiguous(path: &[u8]) -> bool {
    // C0 and C1 begin no valid UTF-8: they are how an ASCII character is smuggled past a check
    path.iter().any(|byte| matches!(byte, 0..0x20 | 0x7f | 0xc0 | 0xc1))
}

/// Whether decoding what was decoded once gives a character that structures paths.
fn hides_structure(once: &[u8]) -> bool {
    let hidden = once.windows(3).filter(|window| window[0] == b'%').map(percent_decoded);
    hidden.into_iter().any(|decoded| matches!(*decoded, [b'.' | b'/' | b'\\' | b';' | b'%']))
}

/// Whether there is a `.` or `..` that is one only for servers that cut parameters, or take `\` for `/`.
fn disguises_dots(decoded: &[u8]) -> bool {
    let backslash = decoded.contains(&b'\\');
    decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        matches!(name, b"." | b"..") && (backslash || name.len() < segment.len())
    })
}

/// `%XX` replaced by its byte; what is not of that form stays.
pub(crate) fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // two digits of 4 bits each
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    Cow::Owned(decoded)
}

/// Segments without empty ones, `.` and `..` (RFC 3986 5.2.4); a path that ended in `/`, `.` or `..` ends in `/`.
fn resolved(path: &[u8], cut_parameters: bool) -> String {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut open = false;
    for segment in path.split(|byte| *byte == b'/') {
        let segment = match segment.iter().position(|byte| *byte == b';') {
            Some(end) if cut_parameters => &segment[..end],
            _ => segment,
        };
        open = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let mut text = vec![b'/'];
    text.extend(segments.join(&b'/'));
    if open && !segments.is_empty() {
        text.push(b'/');
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_servers_may_read_it() {
        for (raw, plain, lax) in [
            ("/", "/", "/"),
            ("/a/b", "/a/b", "/a/b"),
            ("/a/b/", "/a/b/", "/a/b/"),
            ("//admin", "/admin", "/admin"),
            ("/./admin", "/admin", "/admin"),
            ("/%61dmin", "/admin", "/admin"),
            ("/x/../admin", "/admin", "/admin"),
            ("/x/%2e%2E/admin", "/admin", "/admin"),
            ("/x%2f..%2fadmin", "/admin", "/admin"),
            ("/../../admin", "/admin", "/admin"),
            ("/admin/.", "/admin/", "/admin/"),
            ("/x/..", "/", "/"),
            ("/admin;v=1", "/admin;v=1", "/admin"),
            ("/admin%3Bv=1", "/admin;v=1", "/admin"),
            ("/;a/admin", "/;a/admin", "/admin"),
            ("/x%5cadmin", "/x\\admin", "/x/admin"),
            ("/%2561dmin", "/%61dmin", "/admin"),
            ("/%zz%6", "/%zz%6", "/%zz%6"),
            ("/caf%c3%a9", "/café", "/café"),
            ("/.well-known/x", "/.well-known/x", "/.well-known/x"),
            ("*", "/*", "/*"),
            ("", "/", "/"),
        ] {
            let readings = Readings::new(raw);
            let read = (readings.plain.as_deref().unwrap_or(raw), readings.lax.as_deref().unwrap_or(raw));
            assert_eq!((read, readings.ambiguous), ((plain, lax), false), "{raw}");
        }
    }

    #[test]
    fn what_is_written_to_be_misread_is_ambiguous() {
        for raw in [
            "/admin%00",
            "/%0aadmin",
            "/%c0%afadmin",
            "/%2500",
            "/%25252561",
            "/a\u{7f}",
            "/x/..;/admin",
            "/x/..%3badmin/admin",
            "/x/..%5cadmin",
            "/x%5c../admin",
            "/x%252f..%252fadmin",
            // cut, decoded once, not resolved again: /admin/%2e%2e/y to some servers, /y to others
            "/x/..;/admin/%252e%252e/y",
            "/public/..;/admin/..%3B/public/y",
        ] {
            assert!(Readings::new(raw).ambiguous, "{raw}");
        }
    }

    #[test]
    fn the_short_cut_lets_nothing_through_that_has_two_readings() {
        let alphabet = b"/.a%;\\2f";
        let mut paths = vec![String::from("/")];
        for _ in 0..5 {
            let longer =
                paths.iter().flat_map(|path| alphabet.iter().map(move |c| format!("{path}{}", char::from(*c))));
            paths = longer.collect();
            for path in &paths {
                if is_plain(path.as_bytes()) {
                    assert_eq!(*percent_decoded(path.as_bytes()), *path.as_bytes());
                    assert_eq!(
                        (resolved(path.as_bytes(), true), resolved(path.as_bytes(), false)),
                        (path.clone(), path.clone())
                    );
                }
            }
        }
    }
}
