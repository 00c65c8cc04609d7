//! The access log: one line per request or opaque connection, written when it ends. [`FIELDS`] is the table of what
//! stands in it, in order; `docs/access-log.md` comes from it.
//!
//! Texts that peers send are escaped so that a line stays one line and a field one field, in a terminal too: quotes,
//! backslashes and everything that isn't printable ASCII (text) or is a control character (JSON). They are cut at
//! [`CUT`] bytes.

mod put;
#[cfg(test)]
mod tests;

use http::{Method, Uri, Version};
use mesh_config::{Filter, proxy, settings::AccessLogFormat};
use put::{json_text, number, quoted, socket};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a line of free text may have: paths and user agents beyond that tell nobody more.
pub const CUT: usize = 2048;

/// What is logged of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLog {
    pub format: AccessLogFormat,
    /// Which requests are written; `None`: all.
    pub filter: Option<Filter>,
}

impl AccessLog {
    /// A policy's wish over the Pod's setting.
    pub fn new(policy: &proxy::AccessLog, default: AccessLogFormat) -> AccessLog {
        AccessLog { format: policy.format.unwrap_or(default), filter: policy.filter.clone() }
    }

    /// Whether anything may be written at all.
    pub fn is_on(&self) -> bool {
        self.format != AccessLogFormat::None
    }

    pub(super) fn wants(&self, status: u16, duration: Duration) -> bool {
        self.is_on() && self.filter.as_ref().is_none_or(|filter| filter.matches(status, duration))
    }
}

/// Every field: its name in JSON, and what it means. The text format has them in this order.
pub const FIELDS: [(&str, &str); 21] = [
    ("time", "when the request's head (or the connection) came, UTC"),
    ("direction", "inbound: a call to this Pod; outbound: a call by it"),
    ("method", "the HTTP method"),
    ("path", "the path as received, without the query: queries carry secrets too often"),
    ("protocol", "HTTP/1.0, HTTP/1.1, HTTP/2.0, or TCP for an opaque connection"),
    ("status", "the HTTP status that the caller got; 0 for an opaque connection"),
    ("grpc_status", "the grpc-status that the caller got, if the request was gRPC"),
    ("flag", "what went wrong, see the table of flags"),
    ("duration_ms", "from the head of the request to the end of the answer, in milliseconds"),
    ("bytes_received", "bytes of body (or connection) from the caller"),
    ("bytes_sent", "bytes of body (or connection) to the caller"),
    ("upstream", "the address that it was sent to, last"),
    ("destination", "the address that the caller called"),
    ("source", "the caller's address"),
    ("service", "the called Service, NAMESPACE/NAME, where it is known"),
    ("route", "the route that matched, if any"),
    ("request_id", "x-request-id"),
    ("user_agent", "user-agent"),
    ("authority", "host or :authority"),
    ("denied_by", "the authorization rule that denied it"),
    ("dry_run", "what policies of mode DryRun would have changed: a rule that denies, or another route"),
];

/// What a line says. Empty texts and `None` are absent.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) start: SystemTime,
    pub(super) direction: &'static str,
    /// `None`: an opaque connection.
    pub(super) request: Option<RequestLine<'a>>,
    pub(super) status: u16,
    pub(super) grpc_status: Option<u8>,
    pub(super) flag: &'static str,
    pub(super) duration: Duration,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) upstream: Option<SocketAddr>,
    pub(super) destination: SocketAddr,
    pub(super) source: SocketAddr,
    pub(super) service: &'a str,
    pub(super) route: &'a str,
    pub(super) request_id: &'a [u8],
    pub(super) user_agent: &'a [u8],
    pub(super) authority: &'a [u8],
    pub(super) denied_by: &'a str,
    pub(super) dry_run: &'a str,
}

#[derive(Debug)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) version: Version,
}

impl Record<'_> {
    /// Appends the line.
    pub(super) fn write(&self, format: AccessLogFormat, out: &mut Vec<u8>) {
        // an ordinary line, so that the buffer doesn't grow in the middle of one
        out.reserve(512);
        match format {
            AccessLogFormat::None => {}
            AccessLogFormat::Text => self.write_text(out),
            AccessLogFormat::Json => self.write_json(out),
        }
    }

    /// Fields in their fixed order with a space between; texts of peers and of people in quotes, absent ones `-`.
    fn write_text(&self, out: &mut Vec<u8>) {
        put::time(out, self.start.duration_since(UNIX_EPOCH).unwrap_or_default());
        out.push(b' ');
        out.extend(self.direction.as_bytes());
        out.extend(b" \"");
        match &self.request {
            Some(RequestLine { method, uri, version }) => {
                put::escaped(out, method.as_str().as_bytes());
                out.push(b' ');
                put::escaped(out, uri.path().as_bytes());
                out.push(b' ');
                out.extend(version_text(*version).as_bytes());
            }
            None => out.extend(b"- - TCP"),
        }
        out.extend(b"\" ");
        number(out, self.status.into());
        out.push(b' ');
        match self.grpc_status {
            Some(code) => number(out, code.into()),
            None => out.push(b'-'),
        }
        out.push(b' ');
        out.extend(if self.flag.is_empty() { "-" } else { self.flag }.as_bytes());
        out.push(b' ');
        put::millis(out, self.duration);
        for bytes in [self.received, self.sent] {
            out.push(b' ');
            number(out, bytes);
        }
        for address in [self.upstream, Some(self.destination), Some(self.source)] {
            out.push(b' ');
            match address {
                Some(address) => socket(out, address),
                None => out.push(b'-'),
            }
        }
        for text in self.texts() {
            out.push(b' ');
            quoted(out, text);
        }
        out.push(b'\n');
    }

    /// One JSON object; absent fields are left out.
    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend(b"{\"time\":\"");
        put::time(out, self.start.duration_since(UNIX_EPOCH).unwrap_or_default());
        out.extend(b"\",\"direction\":\"");
        out.extend(self.direction.as_bytes());
        out.push(b'"');
        if let Some(RequestLine { method, uri, version }) = &self.request {
            json_text(out, "method", method.as_str().as_bytes());
            json_text(out, "path", uri.path().as_bytes());
            json_text(out, "protocol", version_text(*version).as_bytes());
        } else {
            json_text(out, "protocol", b"TCP");
        }
        put::json_number(out, "status", self.status.into());
        if let Some(code) = self.grpc_status {
            put::json_number(out, "grpc_status", code.into());
        }
        json_text(out, "flag", self.flag.as_bytes());
        out.extend(b",\"duration_ms\":");
        put::millis(out, self.duration);
        put::json_number(out, "bytes_received", self.received);
        put::json_number(out, "bytes_sent", self.sent);
        let addresses =
            [("upstream", self.upstream), ("destination", Some(self.destination)), ("source", Some(self.source))];
        for (name, address) in addresses {
            if let Some(address) = address {
                out.extend(b",\"");
                out.extend(name.as_bytes());
                out.extend(b"\":\"");
                socket(out, address);
                out.push(b'"');
            }
        }
        let names = FIELDS[FIELDS.len() - 7..].iter();
        for ((name, _), text) in names.zip(self.texts()) {
            json_text(out, name, text);
        }
        out.extend(b"}\n");
    }

    /// The last seven of [`FIELDS`].
    fn texts(&self) -> [&[u8]; 7] {
        [
            self.service.as_bytes(),
            self.route.as_bytes(),
            self.request_id,
            self.user_agent,
            self.authority,
            self.denied_by.as_bytes(),
            self.dry_run.as_bytes(),
        ]
    }
}

fn version_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}
