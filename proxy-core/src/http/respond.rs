//! Answers of our own: for a request that can't be, or must not be, passed on.

use super::answer::Body;
use super::grpc;
use crate::error::Error;
use bytes::Bytes;
use http::{HeaderValue, Response, header};

/// The status from the table, and one line that says who speaks, what is wrong, and the flag that the access log shows.
pub fn error(error: Error, to_grpc: bool) -> Response<Body> {
    if to_grpc {
        return grpc::error(error);
    }
    let text = format!("outrigger: {error} ({})\n", error.flag());
    let mut response = Response::new(Body::Text(Bytes::from(text)));
    *response.status_mut() = error.status();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn every_error_has_its_line() {
        for each in Error::ALL {
            let response = error(each, false);
            assert_eq!(response.status(), each.status());
            let text = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(text, format!("outrigger: {each} ({})\n", each.flag()));
        }
    }
}
