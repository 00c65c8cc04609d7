//! What a proxy changes in a message's header, and what it must know of it: found in one pass, since looking eight names
//! up in the map costs twenty times as much. Only what is there is taken away.

use super::grpc;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version, request};
use mesh_config::names;

/// What a request's header says about how to forward it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// It asks to change the protocol of the connection.
    pub upgrade: bool,
    pub grpc: bool,
    hosts: u8,
}

/// Names that a header has.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    connection: bool,
    keep_alive: bool,
    proxy_connection: bool,
    te: bool,
    upgrade: bool,
    undelivered: bool,
    forged: bool,
    grpc: bool,
    hosts: u8,
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const UNDELIVERED: HeaderName = HeaderName::from_static(names::HEADER_UNDELIVERED);

/// By which others tell who the caller was.
const FORWARDED_CLIENT_CERT: &str = "x-forwarded-client-cert";
/// What our proxies say to each other.
const OURS: &str = "x-outrigger-";

fn look(headers: &HeaderMap) -> Seen {
    let mut seen = Seen::default();
    for (name, value) in headers {
        match name.as_str() {
            "host" => seen.hosts = seen.hosts.saturating_add(1),
            "connection" => seen.connection = true,
            "keep-alive" => seen.keep_alive = true,
            "proxy-connection" => seen.proxy_connection = true,
            "te" => seen.te = true,
            "upgrade" => seen.upgrade = true,
            "content-type" => seen.grpc = grpc::is_grpc(value),
            names::HEADER_UNDELIVERED => (seen.undelivered, seen.forged) = (true, true),
            FORWARDED_CLIENT_CERT => seen.forged = true,
            name if name.starts_with(OURS) => seen.forged = true,
            _ => {}
        }
    }
    seen
}

/// Makes a request's header fit for the next hop: hop-by-hop fields go (RFC 9110 7.6.1), but for an upgrade's. With
/// `untrusted`, what only a proxy of ours could know goes too.
pub fn forward_request(parts: &mut request::Parts, untrusted: bool) -> RequestHead {
    let seen = look(&parts.headers);
    let headers = &mut parts.headers;
    let upgrade = seen.upgrade && parts.version == Version::HTTP_11 && asks_for_upgrade(headers);
    let connect = parts.method == http::Method::CONNECT;
    strip_hop_by_hop(headers, seen, upgrade);
    if untrusted && seen.forged {
        strip_forged(headers);
    }
    RequestHead { upgrade: upgrade || connect, grpc: seen.grpc, hosts: seen.hosts }
}

impl RequestHead {
    /// RFC 9112 3.2: a request of HTTP/1.1 has exactly one Host, and any request at most one.
    pub fn host_is_valid(&self, version: Version) -> bool {
        match version {
            Version::HTTP_11 => self.hosts == 1,
            _ => self.hosts <= 1,
        }
    }

    pub fn has_host(&self) -> bool {
        self.hosts > 0
    }
}

/// Whether an upgrade is asked for that may pass: `Connection` names it, and it isn't to HTTP/2, whose requests nobody
/// could judge then (RFC 9113 dropped it, and a server answers in HTTP/1.1 when it isn't asked).
fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let named = tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    // what isn't a list of tokens could hide it from us and not from the server
    let readable = headers.get_all(header::UPGRADE).into_iter().all(|value| value.to_str().is_ok());
    named && readable && !tokens(headers, &header::UPGRADE).any(|token| token.eq_ignore_ascii_case("h2c"))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',').map(str::trim).filter(|token| !token.is_empty()))
}

fn strip_hop_by_hop(headers: &mut HeaderMap, seen: Seen, upgrade: bool) {
    if seen.connection {
        // what frames the message or says where it goes is nobody's to take away, whatever a caller writes
        let kept = ["upgrade", "close", "keep-alive", "host", "content-length", "transfer-encoding", "te", "trailer"];
        let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
            .filter(|token| !kept.iter().any(|kept| token.eq_ignore_ascii_case(kept)))
            .filter_map(|token| token.parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if seen.keep_alive {
        headers.remove(KEEP_ALIVE);
    }
    if seen.proxy_connection {
        headers.remove(PROXY_CONNECTION);
    }
    if seen.te {
        let trailers = tokens(headers, &header::TE).any(|token| token.eq_ignore_ascii_case("trailers"));
        headers.remove(header::TE);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
    if seen.upgrade {
        headers.remove(HTTP2_SETTINGS);
    }
    if upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else if seen.upgrade {
        headers.remove(header::UPGRADE);
    }
}

fn strip_forged(headers: &mut HeaderMap) {
    let forged = |name: &&HeaderName| name.as_str() == FORWARDED_CLIENT_CERT || name.as_str().starts_with(OURS);
    let names: Vec<HeaderName> = headers.keys().filter(forged).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// What our inbound proxy says of a request that it couldn't deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// There was no connection to the application.
    Connect,
    /// The connection broke before the first byte of the answer.
    Reset,
}

impl Undelivered {
    pub const fn value(self) -> HeaderValue {
        match self {
            Undelivered::Connect => HeaderValue::from_static("connect"),
            Undelivered::Reset => HeaderValue::from_static("reset"),
        }
    }

    /// A value that a later version may invent is read as the careful one.
    fn of(value: &HeaderValue) -> Undelivered {
        if value == Undelivered::Connect.value() { Undelivered::Connect } else { Undelivered::Reset }
    }
}

/// Adds the header to an answer of ours.
pub fn set_undelivered(headers: &mut HeaderMap, how: Undelivered) {
    headers.insert(UNDELIVERED, how.value());
}

/// What an answer's header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerHead {
    pub undelivered: Option<Undelivered>,
    pub grpc: bool,
}

/// Makes an answer's header fit for the caller. The sign of ours is taken off in any case: from applications, which have
/// no say in it, and from our own answers, which the caller's program has no use for.
pub fn forward_answer(status: StatusCode, headers: &mut HeaderMap) -> AnswerHead {
    let seen = look(headers);
    strip_hop_by_hop(headers, seen, seen.upgrade && status == StatusCode::SWITCHING_PROTOCOLS);
    let sign = if seen.undelivered { headers.remove(UNDELIVERED) } else { None };
    // only beside the status that our inbound proxy gives it: another's answer that was given isn't given again
    let unavailable = status == StatusCode::SERVICE_UNAVAILABLE
        || (seen.grpc && headers.get("grpc-status").is_some_and(|code| code == "14"));
    let undelivered = sign.filter(|_| unavailable).map(|value| Undelivered::of(&value));
    AnswerHead { undelivered, grpc: seen.grpc }
}

#[cfg(test)]
mod tests;
