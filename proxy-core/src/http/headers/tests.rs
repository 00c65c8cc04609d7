use super::*;
use http::{Method, Request};

fn parts(method: Method, version: Version, fields: &[(&'static str, &'static str)]) -> request::Parts {
    let mut builder = Request::builder().method(method).version(version).uri("/");
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn fields(headers: &HeaderMap) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
}

#[test]
fn hop_by_hop_fields_go_and_the_rest_stays() {
    for (given, want) in [
        (vec![("host", "a"), ("accept", "*/*")], vec![("host", "a"), ("accept", "*/*")]),
        (vec![("host", "a"), ("connection", "close")], vec![("host", "a")]),
        (vec![("connection", "keep-alive, X-Hop"), ("x-hop", "1"), ("host", "a")], vec![("host", "a")]),
        (vec![("host", "a"), ("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive")], vec![("host", "a")]),
        (vec![("host", "a"), ("te", "trailers, deflate")], vec![("host", "a"), ("te", "trailers")]),
        (vec![("host", "a"), ("te", "deflate")], vec![("host", "a")]),
        (vec![("host", "a"), ("upgrade", "websocket")], vec![("host", "a")]),
        // what frames a message isn't taken away because a caller names it
        (
            vec![("connection", "host, content-length"), ("host", "a"), ("content-length", "1")],
            vec![("host", "a"), ("content-length", "1")],
        ),
    ] {
        let mut parts = parts(Method::GET, Version::HTTP_11, &given);
        let head = forward_request(&mut parts, false);
        let mut got = fields(&parts.headers);
        got.sort_unstable();
        let mut want = want;
        want.sort_unstable();
        assert_eq!(got, want, "{given:?}");
        assert!(!head.upgrade);
    }
}

#[test]
fn an_upgrade_passes_with_its_two_fields_but_not_to_http2() {
    let websocket = [("host", "a"), ("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
    let mut asked = parts(Method::GET, Version::HTTP_11, &websocket);
    assert!(forward_request(&mut asked, false).upgrade);
    assert_eq!(
        (&asked.headers["connection"], &asked.headers["upgrade"]),
        (&"upgrade".parse().unwrap(), &"websocket".parse().unwrap())
    );

    let h2c =
        [("host", "a"), ("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk")];
    let mut asked = parts(Method::GET, Version::HTTP_11, &h2c);
    assert!(!forward_request(&mut asked, false).upgrade);
    assert_eq!(fields(&asked.headers), [("host", "a")]);
}

#[test]
fn connect_asks_for_a_tunnel() {
    let mut asked = parts(Method::CONNECT, Version::HTTP_11, &[("host", "a:443")]);
    assert!(forward_request(&mut asked, false).upgrade);
}

#[test]
fn identity_is_nothing_that_a_caller_may_claim() {
    let claims = [
        ("host", "a"),
        ("x-forwarded-client-cert", "By=…"),
        ("x-outrigger-undelivered", "connect"),
        ("x-outrigger-peer", "me"),
    ];
    let mut untrusted = parts(Method::GET, Version::HTTP_11, &claims);
    forward_request(&mut untrusted, true);
    assert_eq!(fields(&untrusted.headers), [("host", "a")]);
}

#[test]
fn a_request_of_http_1_1_has_exactly_one_host() {
    for (version, hosts, valid) in [
        (Version::HTTP_11, 1, true),
        (Version::HTTP_11, 0, false),
        (Version::HTTP_11, 2, false),
        (Version::HTTP_10, 0, true),
        (Version::HTTP_2, 0, true),
        (Version::HTTP_2, 2, false),
    ] {
        let mut parts = parts(Method::GET, version, &vec![("host", "a"); hosts]);
        assert_eq!(forward_request(&mut parts, false).host_is_valid(version), valid, "{version:?} {hosts}");
    }
}

#[test]
fn an_answer_loses_our_sign_and_tells_it() {
    for (value, want) in
        [("connect", Undelivered::Connect), ("reset", Undelivered::Reset), ("of a later version", Undelivered::Reset)]
    {
        let mut headers = HeaderMap::new();
        headers.insert(UNDELIVERED, value.parse().unwrap());
        headers.insert("connection", "close".parse().unwrap());
        let answered = forward_answer(StatusCode::SERVICE_UNAVAILABLE, &mut headers);
        assert_eq!((answered.undelivered, headers.len()), (Some(want), 0));
    }
}

#[test]
fn our_sign_beside_another_status_is_taken_off_and_not_believed() {
    let mut headers = HeaderMap::new();
    headers.insert(UNDELIVERED, "connect".parse().unwrap());
    assert_eq!(forward_answer(StatusCode::OK, &mut headers).undelivered, None);
    assert!(headers.is_empty());
}

#[test]
fn an_upgrade_that_cannot_be_read_is_none() {
    let mut request = parts(Method::GET, Version::HTTP_11, &[("host", "a"), ("connection", "upgrade")]);
    request.headers.insert("upgrade", HeaderValue::from_bytes(b"h2c, \x80").unwrap());
    request.headers.insert("http2-settings", "AAMAAABk".parse().unwrap());
    forward_request(&mut request, true);
    assert_eq!(fields(&request.headers), [("host", "a")]);
}

#[test]
fn only_an_answer_that_switches_keeps_its_upgrade() {
    for (status, kept) in [(StatusCode::SWITCHING_PROTOCOLS, 2), (StatusCode::OK, 0)] {
        let mut headers = HeaderMap::new();
        headers.insert("upgrade", "websocket".parse().unwrap());
        headers.insert("connection", "Upgrade".parse().unwrap());
        forward_answer(status, &mut headers);
        assert_eq!(headers.len(), kept, "{status}");
    }
}
