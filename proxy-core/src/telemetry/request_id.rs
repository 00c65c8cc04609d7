//! `x-request-id`: the id under which all proxies and applications log one request.

use crate::random::random;
use http::header::{HeaderMap, HeaderName, HeaderValue};

pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request an id if it has none: called by the outbound proxy, before it begins the exchange. An id that is
/// there stays, whatever it looks like: the caller's own tools search for it.
pub fn ensure(headers: &mut HeaderMap) {
    if headers.get(&HEADER).is_none_or(HeaderValue::is_empty)
        && let Ok(id) = HeaderValue::from_bytes(&new_id())
    {
        headers.insert(HEADER, id);
    }
}

/// A UUID of version 4 (RFC 9562 5.4), the form that most tools know.
fn new_id() -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let number = u128::from(random()) << 64 | u128::from(random());
    // four bits say "version 4", two say "of this RFC"
    let number = number & !(0xf << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let mut text = [b'-'; 36];
    let mut shift = 128;
    for (at, place) in text.iter_mut().enumerate() {
        if ![8, 13, 18, 23].contains(&at) {
            shift -= 4;
            *place = DIGITS[usize::from((number >> shift) as u8 & 0xf)];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_an_id_gets_a_uuid_and_one_with_keeps_it() {
        let mut headers = HeaderMap::new();
        ensure(&mut headers);
        let id = headers[&HEADER].to_str().unwrap().to_owned();
        let groups: Vec<&str> = id.split('-').collect();
        assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
        assert!(groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert!(groups[2].starts_with('4') && groups[3].starts_with(['8', '9', 'a', 'b']), "{id}");

        ensure(&mut headers);
        assert_eq!(headers[&HEADER], *id);
        headers.insert(HEADER, HeaderValue::from_static(""));
        ensure(&mut headers);
        assert_ne!(headers[&HEADER], "");
        assert_ne!(headers[&HEADER], *id);
    }
}
