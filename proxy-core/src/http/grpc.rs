//! What the proxy must know of gRPC: which requests are, and how an error is told to such a client.
//!
//! gRPC-Web isn't: its clients read errors from HTTP statuses as well.

use crate::error::Error;
use http::{HeaderValue, Response, StatusCode, header};

/// PROTOCOL-HTTP2.md: `application/grpc`, with a suffix `+proto`, `+json` … or parameters.
pub fn is_grpc(content_type: &HeaderValue) -> bool {
    let Some(rest) = content_type.as_bytes().strip_prefix(b"application/grpc") else { return false };
    matches!(rest.first(), None | Some(b'+' | b';'))
}

/// An answer of headers alone ("Trailers-Only"): 200, with status and message.
pub fn error<B: Default>(error: Error) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(error.grpc_code() as u16));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(&format!("outrigger: {error} ({})", error.flag()))) {
        headers.insert("grpc-message", message);
    }
    response
}

/// Percent-encoded as PROTOCOL-HTTP2.md wants it: printable ASCII without `%` stays.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_content_types_of_grpc_are() {
        for (value, want) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&HeaderValue::from_static(value)), want, "{value}");
        }
    }

    #[test]
    fn an_error_is_an_answer_of_headers_alone() {
        let response: Response<()> = error(Error::ConnectRefused);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        let message = response.headers()["grpc-message"].to_str().unwrap();
        assert!(message.starts_with("outrigger: connection refused") && message.ends_with("(UF)"), "{message}");
    }

    #[test]
    fn what_is_not_printable_is_encoded() {
        assert_eq!(percent_encoded("50% ü\n"), "50%25 %C3%BC%0A");
    }
}
