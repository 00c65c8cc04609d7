//! What a port speaks, as its owner declares it. A declared protocol always wins over detection.

use serde::{Deserialize, Serialize};

/// A declared protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.x, or HTTP/2 where the client begins with its preface.
    #[serde(rename = "HTTP")]
    Http,
    /// HTTP/2 without TLS, prior knowledge (RFC 9113 3.3).
    #[serde(rename = "H2C")]
    H2c,
    /// gRPC: HTTP/2, errors of ours as `grpc-status`.
    #[serde(rename = "GRPC")]
    Grpc,
    /// TLS that the application speaks itself: passed through.
    #[serde(rename = "TLS")]
    Tls,
    /// Opaque bytes; the server may speak first.
    #[serde(rename = "TCP")]
    Tcp,
}

impl Protocol {
    /// The protocol that a Service port declares: `appProtocol`, else the port's name up to the first `-`.
    ///
    /// `appProtocol` values are those of the Kubernetes docs (Service, "Application protocol") and IANA service names;
    /// the name prefixes are the convention that Istio's users know ("Protocol Selection"). `None` means: detect.
    pub fn declared(app_protocol: Option<&str>, port_name: Option<&str>) -> Option<Protocol> {
        match app_protocol {
            Some(value) => Self::from_word(&value.to_ascii_lowercase()),
            None => Self::from_word(port_name?.split('-').next()?),
        }
    }

    fn from_word(word: &str) -> Option<Protocol> {
        Some(match word {
            "http" | "kubernetes.io/ws" => Protocol::Http,
            "http2" | "h2c" | "kubernetes.io/h2c" => Protocol::H2c,
            "grpc" => Protocol::Grpc,
            "https" | "tls" | "kubernetes.io/wss" => Protocol::Tls,
            "tcp" | "redis" | "mysql" | "mongo" | "postgres" | "postgresql" | "smtp" | "amqp" | "mqtt" | "kafka"
            | "ldap" | "imap" | "pop3" | "ftp" | "ssh" => Protocol::Tcp,
            _ => return None,
        })
    }

    /// Whether requests can be seen.
    pub const fn is_http(self) -> bool {
        matches!(self, Protocol::Http | Protocol::H2c | Protocol::Grpc)
    }

    /// As documents write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Http => "HTTP",
            Protocol::H2c => "H2C",
            Protocol::Grpc => "GRPC",
            Protocol::Tls => "TLS",
            Protocol::Tcp => "TCP",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_protocol_wins_over_the_ports_name_even_when_it_says_nothing_we_know() {
        for (app_protocol, name, want) in [
            (Some("kubernetes.io/h2c"), Some("http"), Some(Protocol::H2c)),
            (Some("example.com/own"), Some("http"), None),
            (Some("HTTP"), None, Some(Protocol::Http)),
            (None, Some("http"), Some(Protocol::Http)),
            (None, Some("http-web"), Some(Protocol::Http)),
            (None, Some("httpweb"), None),
            (None, Some("grpc-api"), Some(Protocol::Grpc)),
            (None, Some("redis"), Some(Protocol::Tcp)),
            (None, None, None),
        ] {
            assert_eq!(Protocol::declared(app_protocol, name), want, "{app_protocol:?} {name:?}");
        }
    }
}
