//! What a connection speaks, from its first bytes. Bounded in bytes and time; what was read is given back.
//!
//! It doesn't judge: garbage is a protocol that we don't know, passed through as it is. It never runs on a port whose
//! protocol is declared (a server that speaks first must never wait for a client's bytes), but for HTTP, where it only
//! tells the two versions apart.

use bytes::BytesMut;
use std::{io, time::Duration};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
    /// A TLS ClientHello.
    Tls,
    /// Nothing that we know.
    Opaque,
}

/// How a look at a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Protocol(Protocol),
    /// The client has been silent, in the beginning or in the middle of what could still become something.
    Silence,
    /// The client has closed its side before it could be told what it speaks.
    Closed,
}

/// RFC 9113 3.4.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes after which what isn't clear is opaque. A request line is rarely longer; a longer one with the look of HTTP is
/// taken for it, and hyper refuses what it can't use.
const LIMIT: usize = 8192;

/// The longest method that somebody registered is 17 bytes long (IANA, "UPDATEREDIRECTREF").
const LONGEST_METHOD: usize = 32;

/// Judges the bytes so far; `None`: more are needed. Pure.
pub fn classify(bytes: &[u8]) -> Option<Protocol> {
    if let Some(whole) = begins_like(bytes, PREFACE) {
        return whole.then_some(Protocol::Http2);
    }
    if bytes.first() == Some(&0x16) {
        return tls(bytes);
    }
    http1(bytes)
}

/// Whether the preface is there; `None`: the bytes so far are no beginning of it.
fn begins_like(bytes: &[u8], preface: &[u8]) -> Option<bool> {
    let length = bytes.len().min(preface.len());
    (length > 0 && bytes[..length] == preface[..length]).then_some(length == preface.len())
}

/// A record (RFC 8446 5.1) of type handshake and version 3.x, whose first message is a ClientHello.
fn tls(bytes: &[u8]) -> Option<Protocol> {
    let expected: [fn(u8) -> bool; 6] = [|b| b == 0x16, |b| b == 3, |b| b <= 4, |_| true, |_| true, |b| b == 1];
    if !bytes.iter().zip(expected).all(|(byte, expected)| expected(*byte)) {
        return Some(Protocol::Opaque);
    }
    (bytes.len() >= expected.len()).then_some(Protocol::Tls)
}

/// A request line (RFC 9112 3): `method SP target SP HTTP/1.x`. Lines that aren't, such as `GET key`, belong to somebody
/// else's protocol.
fn http1(bytes: &[u8]) -> Option<Protocol> {
    // RFC 9112 2.2: empty lines before a request are ignored
    let empty = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    if empty == bytes.len() {
        return (empty >= LIMIT).then_some(Protocol::Opaque);
    }
    let line = &bytes[empty..];
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let method = line.iter().take_while(|byte| token(byte)).count();
    let Some(&after) = line.get(method) else { return (line.len() > LONGEST_METHOD).then_some(Protocol::Opaque) };
    if after != b' ' || method == 0 || method > LONGEST_METHOD {
        return Some(Protocol::Opaque);
    }
    let target = &line[method + 1..];
    let length = target.iter().take_while(|byte| **byte > b' ' && **byte != 0x7f).count();
    let Some(&after) = target.get(length) else {
        return (bytes.len() >= LIMIT).then_some(if target.first() == Some(&b'/') {
            Protocol::Http1
        } else {
            Protocol::Opaque
        });
    };
    if after != b' ' || length == 0 {
        return Some(Protocol::Opaque);
    }
    let version = &target[length + 1..];
    match begins_like(version, b"HTTP/1.") {
        Some(true) => Some(Protocol::Http1),
        Some(false) => None,
        None => (!version.is_empty()).then_some(Protocol::Opaque),
    }
}

/// Reads until it is clear what the client speaks, or it has been silent for so long. What was read is in `read`,
/// which may hold bytes of an earlier look already.
pub async fn detect(io: &mut (impl AsyncRead + Unpin), read: &mut BytesMut, silence: Duration) -> io::Result<Seen> {
    loop {
        if let Some(protocol) = (!read.is_empty()).then(|| classify(read)).flatten() {
            return Ok(Seen::Protocol(protocol));
        }
        match tokio::time::timeout(silence, read_some(io, read)).await {
            Err(_) => return Ok(Seen::Silence),
            Ok(Ok(0)) => return Ok(Seen::Closed),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
    }
}

/// HTTP is declared: which version? Waits as long as the client does, for at most the 24 bytes of a preface.
pub async fn http_version(io: &mut (impl AsyncRead + Unpin), read: &mut BytesMut) -> io::Result<Seen> {
    loop {
        match begins_like(read, PREFACE) {
            Some(true) => return Ok(Seen::Protocol(Protocol::Http2)),
            None if !read.is_empty() => return Ok(Seen::Protocol(Protocol::Http1)),
            _ => {}
        }
        if read_some(io, read).await? == 0 {
            return Ok(if read.is_empty() { Seen::Closed } else { Seen::Protocol(Protocol::Http1) });
        }
    }
}

/// Room for more than the head of a usual request, so that it comes in one read; no more than [`LIMIT`] at all.
async fn read_some(io: &mut (impl AsyncRead + Unpin), read: &mut BytesMut) -> io::Result<usize> {
    if read.capacity() - read.len() < 512 {
        read.reserve(if read.is_empty() { 2048 } else { LIMIT });
    }
    io.read_buf(read).await
}

#[cfg(test)]
mod tests;
