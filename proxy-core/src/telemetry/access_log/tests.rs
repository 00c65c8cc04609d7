use super::*;

fn record<'a>(method: &'a Method, uri: &'a Uri) -> Record<'a> {
    Record {
        start: UNIX_EPOCH + Duration::from_millis(1_795_262_400_250),
        direction: "outbound",
        request: Some(RequestLine { method, uri, version: Version::HTTP_11 }),
        status: 503,
        grpc_status: None,
        flag: "UF",
        duration: Duration::from_micros(1500),
        received: 12,
        sent: 34,
        upstream: Some("10.0.0.2:8080".parse().unwrap()),
        destination: "10.96.0.1:80".parse().unwrap(),
        source: "10.0.0.1:5555".parse().unwrap(),
        service: "shop/web",
        route: "canary",
        request_id: b"id-1",
        user_agent: b"curl/8 \"x\"\r\n",
        authority: b"web",
        denied_by: "",
        dry_run: "",
    }
}

fn written(record: &Record<'_>, format: AccessLogFormat) -> String {
    let mut out = Vec::new();
    record.write(format, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_request_as_text() {
    let (method, uri) = (Method::GET, "/a?secret=1".parse().unwrap());
    assert_eq!(
        written(&record(&method, &uri), AccessLogFormat::Text),
        concat!(
            "2026-11-21T12:00:00.250Z outbound \"GET /a HTTP/1.1\" 503 - UF 1.500 12 34 10.0.0.2:8080 10.96.0.1:80 ",
            "10.0.0.1:5555 \"shop/web\" \"canary\" \"id-1\" \"curl/8 \\\"x\\\"\\x0d\\x0a\" \"web\" - -\n"
        )
    );
}

#[test]
fn an_opaque_connection_as_text() {
    let (method, uri) = (Method::GET, Uri::default());
    let connection = Record {
        request: None,
        status: 0,
        flag: "",
        upstream: None,
        route: "",
        request_id: b"",
        user_agent: b"",
        authority: b"",
        denied_by: "p/a",
        dry_run: "",
        ..record(&method, &uri)
    };
    assert_eq!(
        written(&connection, AccessLogFormat::Text),
        "2026-11-21T12:00:00.250Z outbound \"- - TCP\" 0 - - 1.500 12 34 - 10.96.0.1:80 10.0.0.1:5555 \"shop/web\" - - - - \"p/a\" -\n"
    );
    assert_eq!(
        written(&connection, AccessLogFormat::Json),
        concat!(
            r#"{"time":"2026-11-21T12:00:00.250Z","direction":"outbound","protocol":"TCP","status":0,"duration_ms":1.500,"#,
            r#""bytes_received":12,"bytes_sent":34,"destination":"10.96.0.1:80","source":"10.0.0.1:5555","#,
            r#""service":"shop/web","denied_by":"p/a"}"#,
            "\n"
        )
    );
}

#[test]
fn json_has_the_fields_of_the_table_in_its_order() {
    let (method, uri) = (Method::GET, "/a".parse().unwrap());
    let all = Record { grpc_status: Some(14), denied_by: "p/a", dry_run: "route b", ..record(&method, &uri) };
    let line = written(&all, AccessLogFormat::Json);
    let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
    assert_eq!(read.len(), FIELDS.len());
    let places: Vec<usize> = FIELDS.iter().map(|(name, _)| line.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{line}");
    assert_eq!(read["user_agent"], "curl/8 \"x\"\r\n");
}

#[test]
fn the_filter_says_what_is_written() {
    let log = |format, filter: Option<&str>| AccessLog { format, filter: filter.map(|text| text.parse().unwrap()) };
    let second = Duration::from_secs(1);
    assert!(log(AccessLogFormat::Text, None).wants(200, second));
    assert!(!log(AccessLogFormat::None, None).wants(500, second));
    assert!(!log(AccessLogFormat::Json, Some("status >= 500")).wants(200, second));
    assert!(log(AccessLogFormat::Json, Some("status >= 500 || duration >= 1s")).wants(200, second));
}
