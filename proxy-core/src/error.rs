//! Everything that can go wrong with a request or connection, as one enum and one exhaustive table: what the caller is
//! told (HTTP status, gRPC code), what people see (response flag, sentence), and whether another try is safe.
//!
//! An error carries no text of the peer and no address: those are logged where they are known. So it is `Copy`, costs
//! nothing to pass on, and its flag is a label value that can't grow in number.

use http::{Method, StatusCode};

/// What went wrong. The names say at which side: `Connect*` and `Upstream*` towards the destination, `Downstream*`
/// towards the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    #[error("connection refused by the destination: nothing listens on that port")]
    ConnectRefused,
    #[error(
        "the destination did not answer in time; a NetworkPolicy may be dropping the packets, or the address is gone"
    )]
    ConnectTimeout,
    #[error("the destination reset the connection while it was being opened")]
    ConnectReset,
    #[error("no connection to the destination is possible: no route, or this proxy is out of descriptors or ports")]
    ConnectFailed,
    #[error("the route's backend does not exist")]
    NoCluster,
    #[error("the backend has no endpoint of this address family")]
    NoEndpoints,
    #[error("access denied by an authorization policy")]
    Unauthorized,
    #[error("the destination is this proxy itself")]
    LoopGuard,
    #[error("this proxy has no valid configuration yet")]
    NotReady,
    #[error("the whole request took longer than its timeout")]
    RequestTimeout,
    #[error("the backend did not begin to answer within its timeout")]
    BackendTimeout,
    #[error("the caller sent nothing more of its request for too long")]
    DownstreamIdle,
    #[error("the stream was silent for too long")]
    StreamIdle,
    #[error("the destination closed the connection before it answered")]
    UpstreamReset,
    #[error("the destination closed the connection in the middle of its answer")]
    UpstreamTruncated,
    #[error("the destination refused the stream, unprocessed")]
    RefusedStream,
    #[error("the connection was closed before the request was written to it")]
    NeverSent,
    #[error("the destination's proxy could not deliver the request to its application")]
    Undelivered,
    #[error("the application closed its connection to the destination's proxy before it answered")]
    UndeliveredReset,
    #[error("the request is not valid HTTP")]
    DownstreamProtocol,
    #[error("the destination's answer is not valid HTTP")]
    UpstreamProtocol,
    #[error("the caller closed the connection before the answer was complete")]
    DownstreamReset,
    #[error("the request is larger than the buffer limit")]
    BufferLimit,
    #[error("the request's head is too large")]
    HeadTooLarge,
    #[error("the destination speaks no HTTP version that can carry this request")]
    Unsupported,
    #[error("an error of the proxy itself; its log says more")]
    Internal,
}

/// Whether the request may be sent again without anybody having asked for retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It provably never reached an application: safe for every method.
    NeverDelivered,
    /// It may have reached one: only where doing it twice is the same as once (RFC 9110 9.2.2).
    Idempotent,
    /// No.
    No,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// HTTP status of our own answer. Errors after the answer's head only end the stream.
    pub status: StatusCode,
    /// `grpc-status` of our own answer to a gRPC request.
    pub grpc: GrpcCode,
    /// Short name in access log and metrics; Envoy's where the notion is the same ("%RESPONSE_FLAGS%").
    pub flag: &'static str,
    pub retry: Retry,
}

/// gRPC status codes (grpc/doc/statuscodes.md) that a proxy gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GrpcCode {
    Cancelled = 1,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl Error {
    /// Every error, for the docs' table and for tests.
    pub const ALL: [Error; 26] = [
        Error::ConnectRefused,
        Error::ConnectTimeout,
        Error::ConnectReset,
        Error::ConnectFailed,
        Error::NoCluster,
        Error::NoEndpoints,
        Error::Unauthorized,
        Error::LoopGuard,
        Error::NotReady,
        Error::RequestTimeout,
        Error::BackendTimeout,
        Error::DownstreamIdle,
        Error::StreamIdle,
        Error::UpstreamReset,
        Error::UpstreamTruncated,
        Error::RefusedStream,
        Error::NeverSent,
        Error::Undelivered,
        Error::UndeliveredReset,
        Error::DownstreamProtocol,
        Error::UpstreamProtocol,
        Error::DownstreamReset,
        Error::BufferLimit,
        Error::HeadTooLarge,
        Error::Unsupported,
        Error::Internal,
    ];

    /// The table.
    pub const fn entry(self) -> Entry {
        use {GrpcCode as G, Retry as R, StatusCode as S};
        let (status, grpc, flag, retry) = match self {
            // UF, "upstream connection failure"; UH, "no healthy upstream"; NC, "no cluster"; NR is "no route"
            Error::ConnectRefused => (S::SERVICE_UNAVAILABLE, G::Unavailable, "UF", R::NeverDelivered),
            Error::ConnectTimeout => (S::SERVICE_UNAVAILABLE, G::Unavailable, "UF", R::NeverDelivered),
            Error::ConnectReset => (S::SERVICE_UNAVAILABLE, G::Unavailable, "UF", R::NeverDelivered),
            Error::ConnectFailed => (S::SERVICE_UNAVAILABLE, G::Unavailable, "UF", R::NeverDelivered),
            // Gateway API: a backendRef that doesn't exist, or has no endpoints by name, answers 500
            Error::NoCluster => (S::INTERNAL_SERVER_ERROR, G::Internal, "NC", R::No),
            Error::NoEndpoints => (S::INTERNAL_SERVER_ERROR, G::Internal, "UH", R::No),
            Error::Unauthorized => (S::FORBIDDEN, G::PermissionDenied, "RBAC", R::No),
            // Envoy has none of these two
            Error::LoopGuard => (S::LOOP_DETECTED, G::Internal, "LOOP", R::No),
            Error::NotReady => (S::SERVICE_UNAVAILABLE, G::Unavailable, "NOTREADY", R::NeverDelivered),
            Error::RequestTimeout => (S::GATEWAY_TIMEOUT, G::DeadlineExceeded, "UT", R::No),
            Error::BackendTimeout => (S::GATEWAY_TIMEOUT, G::DeadlineExceeded, "UT", R::No),
            Error::DownstreamIdle => (S::REQUEST_TIMEOUT, G::DeadlineExceeded, "SI", R::No),
            Error::StreamIdle => (S::GATEWAY_TIMEOUT, G::DeadlineExceeded, "SI", R::No),
            Error::UpstreamReset => (S::SERVICE_UNAVAILABLE, G::Unavailable, "UC", R::Idempotent),
            Error::UpstreamTruncated => (S::BAD_GATEWAY, G::Unavailable, "UC", R::No),
            Error::RefusedStream => (S::SERVICE_UNAVAILABLE, G::Unavailable, "UR", R::NeverDelivered),
            Error::NeverSent => (S::SERVICE_UNAVAILABLE, G::Unavailable, "UF", R::NeverDelivered),
            Error::Undelivered => (S::SERVICE_UNAVAILABLE, G::Unavailable, "UF", R::NeverDelivered),
            Error::UndeliveredReset => (S::SERVICE_UNAVAILABLE, G::Unavailable, "UC", R::Idempotent),
            Error::DownstreamProtocol => (S::BAD_REQUEST, G::Internal, "DPE", R::No),
            Error::UpstreamProtocol => (S::BAD_GATEWAY, G::Internal, "UPE", R::No),
            // nobody reads this status: 499 is what nginx writes into its log for the same
            Error::DownstreamReset => (CLIENT_CLOSED_REQUEST, G::Cancelled, "DC", R::No),
            Error::BufferLimit => (S::PAYLOAD_TOO_LARGE, G::ResourceExhausted, "OM", R::No),
            Error::HeadTooLarge => (S::REQUEST_HEADER_FIELDS_TOO_LARGE, G::ResourceExhausted, "DPE", R::No),
            Error::Unsupported => (S::HTTP_VERSION_NOT_SUPPORTED, G::Unimplemented, "UPE", R::No),
            Error::Internal => (S::INTERNAL_SERVER_ERROR, G::Internal, "INT", R::No),
        };
        Entry { status, grpc, flag, retry }
    }

    pub const fn status(self) -> StatusCode {
        self.entry().status
    }

    pub const fn grpc_code(self) -> GrpcCode {
        self.entry().grpc
    }

    pub const fn flag(self) -> &'static str {
        self.entry().flag
    }

    /// Whether a request with this method, which ended so, may be sent again without a policy that says so.
    pub fn may_retry(self, method: &Method) -> bool {
        match self.entry().retry {
            Retry::NeverDelivered => true,
            Retry::Idempotent => method.is_idempotent(),
            Retry::No => false,
        }
    }
}

const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => panic!("499 is from 100 to 999"),
};

/// Every flag, and what it means, in the order of the docs' table.
pub const FLAGS: [(&str, &str); 16] = [
    ("UF", "no connection to the destination: refused, timed out, reset, or lost before the request was sent"),
    ("UH", "the backend has no endpoints"),
    ("UC", "the destination closed the connection before or during its answer"),
    ("UR", "the destination refused the stream, unprocessed"),
    ("UT", "a timeout of the route: the whole request's, or one try's"),
    ("SI", "the stream was silent for longer than the idle timeout"),
    ("UPE", "the destination's answer is not valid HTTP, or it can't speak the version that is needed"),
    ("NC", "the route's backend doesn't exist"),
    ("RBAC", "denied by an authorization policy"),
    ("DC", "the caller closed the connection before the answer was complete"),
    ("DPE", "the request is not valid HTTP, or its head is too large"),
    ("OM", "the request is larger than a buffer limit"),
    ("LOOP", "the destination is one of the proxy's own ports"),
    ("NOTREADY", "the proxy has no valid configuration yet"),
    ("INT", "a fault of the proxy itself"),
    ("", "nothing went wrong, as far as the proxy can tell"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_error_has_a_documented_flag_and_every_flag_an_error() {
        let used: BTreeSet<&str> = Error::ALL.iter().map(|error| error.flag()).chain([""]).collect();
        let documented: BTreeSet<&str> = FLAGS.iter().map(|(flag, _)| *flag).collect();
        assert_eq!(used, documented);
    }

    #[test]
    fn all_are_listed_in_their_order() {
        assert!(Error::ALL.iter().enumerate().all(|(place, error)| *error as usize == place));
    }

    #[test]
    fn only_what_was_never_delivered_is_sent_again_whatever_the_method() {
        let may = |method: &Method| -> Vec<Error> {
            Error::ALL.into_iter().filter(|error| error.may_retry(method)).collect()
        };
        let never_delivered = [
            Error::ConnectRefused,
            Error::ConnectTimeout,
            Error::ConnectReset,
            Error::ConnectFailed,
            Error::NotReady,
            Error::RefusedStream,
            Error::NeverSent,
            Error::Undelivered,
        ];
        assert_eq!(may(&Method::POST), never_delivered);
        let more: Vec<Error> = may(&Method::PUT).into_iter().filter(|error| !never_delivered.contains(error)).collect();
        assert_eq!(more, [Error::UpstreamReset, Error::UndeliveredReset]);
    }

    #[test]
    fn statuses_say_whose_fault_it_is() {
        for (error, status, code) in [
            (Error::ConnectRefused, 503, GrpcCode::Unavailable),
            (Error::Unauthorized, 403, GrpcCode::PermissionDenied),
            (Error::NoCluster, 500, GrpcCode::Internal),
            (Error::RequestTimeout, 504, GrpcCode::DeadlineExceeded),
            (Error::DownstreamIdle, 408, GrpcCode::DeadlineExceeded),
            (Error::UpstreamProtocol, 502, GrpcCode::Internal),
            (Error::DownstreamProtocol, 400, GrpcCode::Internal),
            (Error::BufferLimit, 413, GrpcCode::ResourceExhausted),
        ] {
            assert_eq!((error.status().as_u16(), error.grpc_code()), (status, code), "{error:?}");
        }
    }
}
