use super::*;
use crate::policy::authz::{Caller, Operation};
use crate::snapshot::{Defaults, Snapshot};
use crate::telemetry::Telemetry;
use http::Request;
use mesh_config::proxy::Valid;
use mesh_config::settings::AccessLogFormat;
use serde_json::{Value, json};

const SOURCE: &str = "10.0.0.1:5555";
const SERVICE: &str = "10.96.0.1:80";

struct Bench {
    telemetry: Arc<Telemetry>,
    worker: Arc<Worker>,
    snapshot: Snapshot,
}

impl Bench {
    fn new(document: &Value, access_log: AccessLogFormat) -> Bench {
        let valid = Valid::from_bytes(document.to_string().as_bytes()).unwrap();
        let defaults = Defaults { detect_timeout: Duration::ZERO, access_log };
        let snapshot = Snapshot::new(&valid, "sha256:0", 1, &[].into(), &[], &defaults).unwrap();
        let telemetry = Telemetry::new();
        Bench { worker: telemetry.worker(), telemetry, snapshot }
    }

    fn outbound(&self, request: &Parts) -> Exchange {
        let port = self.snapshot.outbound(SERVICE.parse().unwrap()).unwrap();
        let mut exchange =
            Exchange::request(&self.worker, &port.scope, SOURCE.parse().unwrap(), SERVICE.parse().unwrap(), request);
        if let Some(route) = port.routes.find(request) {
            exchange.route(route);
        }
        exchange
    }

    /// The lines of the metrics page that begin so, comments aside.
    fn metrics(&self, name: &str) -> Vec<String> {
        let page = self.telemetry.metrics.encode();
        page.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
    }

    fn log(&self) -> Vec<Value> {
        self.telemetry.take_lines().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn shop() -> Bench {
    let document = json!({"version": 1, "services": [{"name": "shop/web", "addresses": ["10.96.0.1"], "ports": [
        {"port": 80, "routes": [{"name": "canary", "matches": [{"path": {"value": "/new"}}]}],
         "dryRunRoutes": [{"name": "other"}]}]}]});
    Bench::new(&document, AccessLogFormat::Json)
}

fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

#[test]
fn a_request_is_counted_and_logged_once_when_it_ends() {
    let bench = shop();
    let parts = request("/new/x", &[("x-request-id", "id-1"), ("host", "web"), ("user-agent", "curl")]);
    let mut exchange = bench.outbound(&parts);
    exchange.upstream("10.0.0.9:8080".parse().unwrap());
    exchange.status(StatusCode::CREATED);
    exchange.received(10);
    exchange.sent(20);
    exchange.sent(22);
    exchange.finished();
    assert_eq!(bench.metrics("outrigger_requests_total"), Vec::<String>::new(), "not before it ends");
    drop(exchange);

    assert_eq!(
        bench.metrics("outrigger_requests_total"),
        [concat!(
            r#"outrigger_requests_total{direction="outbound",destination_service="shop/web",server_port="80","#,
            r#"route="canary",cluster="",network_protocol_version="1.1",rpc_system="",http_response_status_code="201","#,
            r#"rpc_grpc_status_code="",response_flag=""} 1"#
        )]
    );
    let labels = concat!(
        r#"{direction="outbound",destination_service="shop/web",server_port="80",network_protocol_version="1.1","#,
        r#"rpc_system="",http_response_status_class="2xx"}"#
    );
    for (name, value) in [
        ("outrigger_request_body_bytes_total", 10),
        ("outrigger_response_body_bytes_total", 42),
        ("outrigger_request_duration_seconds_count", 1),
    ] {
        assert_eq!(bench.metrics(name), [format!("{name}{labels} {value}")]);
    }
    let buckets = bench.metrics("outrigger_request_duration_seconds_bucket");
    assert!(buckets.len() == 17 && buckets[16].contains("le=\"+Inf\"") && buckets[16].ends_with(" 1"), "{buckets:#?}");

    let log = bench.log();
    let line = log[0].as_object().unwrap();
    assert_eq!(log.len(), 1);
    for (name, want) in [
        ("direction", json!("outbound")),
        ("path", json!("/new/x")),
        ("status", json!(201)),
        ("upstream", json!("10.0.0.9:8080")),
        ("destination", json!(SERVICE)),
        ("source", json!(SOURCE)),
        ("service", json!("shop/web")),
        ("route", json!("canary")),
        ("request_id", json!("id-1")),
        ("user_agent", json!("curl")),
        ("authority", json!("web")),
        ("bytes_received", json!(10)),
        ("bytes_sent", json!(42)),
    ] {
        assert_eq!(line[name], want, "{name}");
    }
    assert!(!line.contains_key("flag") && !line.contains_key("dry_run"), "{line:?}");
}

#[test]
fn workers_count_for_themselves_and_a_scrape_sees_the_sum() {
    let bench = shop();
    let other = bench.telemetry.worker();
    let port = Arc::clone(bench.snapshot.outbound(SERVICE.parse().unwrap()).unwrap());
    for worker in [&bench.worker, &other, &other] {
        let parts = request("/", &[]);
        let address = SERVICE.parse().unwrap();
        let mut exchange = Exchange::request(worker, &port.scope, address, address, &parts);
        exchange.status(StatusCode::OK);
        exchange.finished();
    }
    let lines = bench.metrics("outrigger_requests_total");
    assert!(lines.len() == 1 && lines[0].ends_with(" 3"), "{lines:?}");
    let lines = bench.metrics("outrigger_request_duration_seconds_count");
    assert!(lines.len() == 1 && lines[0].ends_with(" 3"), "{lines:?}");
    assert_eq!(bench.log().len(), 3);
}

#[test]
fn a_failure_gives_its_flag_and_where_there_is_none_the_status() {
    for (headers, status, failures, want) in [
        (&[][..], None, &[Error::ConnectRefused, Error::Internal][..], (503, Value::Null, "UF")),
        (&[], Some(StatusCode::OK), &[Error::UpstreamTruncated], (200, Value::Null, "UC")),
        (&[], None, &[], (499, Value::Null, "DC")),
        (&[("content-type", "application/grpc")], None, &[Error::BackendTimeout], (504, json!(4), "UT")),
        (&[("content-type", "application/grpc-web")], None, &[Error::BackendTimeout], (504, Value::Null, "UT")),
    ] {
        let bench = shop();
        let mut exchange = bench.outbound(&request("/", headers));
        if let Some(status) = status {
            exchange.status(status);
        }
        for failure in failures {
            exchange.failed(*failure);
        }
        drop(exchange);
        let line = &bench.log()[0];
        let grpc = line.get("grpc_status").cloned().unwrap_or_default();
        assert_eq!((line["status"].as_u64().unwrap(), grpc, line["flag"].as_str().unwrap()), want);
        let counted = bench.metrics("outrigger_requests_total");
        assert!(counted[0].contains(&format!("response_flag=\"{}\"", want.2)), "{counted:?}");
    }
}

#[test]
fn a_grpc_status_that_does_not_exist_is_one_label() {
    let bench = shop();
    for code in [0, 16, 99, 4_000_000_000] {
        let mut exchange = bench.outbound(&request("/", &[("content-type", "application/grpc+proto")]));
        assert!(exchange.is_grpc());
        exchange.status(StatusCode::OK);
        exchange.grpc_status(code);
        exchange.finished();
    }
    let counted = bench.metrics("outrigger_requests_total").join("\n");
    for (code, count) in [("0", 1), ("16", 1), ("other", 2)] {
        let labels = format!(r#"rpc_system="grpc",http_response_status_code="200",rpc_grpc_status_code="{code}""#);
        assert!(
            counted.lines().any(|line| line.contains(&labels) && line.ends_with(&format!(" {count}"))),
            "{counted}"
        );
    }
}

#[test]
fn a_connection_shows_its_bytes_while_it_lasts() {
    let bench = shop();
    let port = bench.snapshot.outbound(SERVICE.parse().unwrap()).unwrap();
    let open = bench.worker.connection(&port.scope);
    open.detected(crate::telemetry::Detected::ServerFirst);
    let mut exchange = Exchange::opaque(&bench.worker, &port.scope, SOURCE.parse().unwrap(), SERVICE.parse().unwrap());
    exchange.received(5);
    exchange.sent(7);
    let labels = r#"{direction="outbound",destination_service="shop/web",server_port="80""#;
    assert_eq!(
        bench.metrics("outrigger_opaque_bytes_total").into_iter().collect::<std::collections::BTreeSet<_>>(),
        [
            format!("outrigger_opaque_bytes_total{labels},flow=\"received\"}} 5"),
            format!("outrigger_opaque_bytes_total{labels},flow=\"sent\"}} 7")
        ]
        .into()
    );
    assert_eq!(bench.metrics("outrigger_connections_active"), [format!("outrigger_connections_active{labels}}} 1")]);
    exchange.finished();
    drop((exchange, open));
    assert_eq!(bench.metrics("outrigger_connections_active"), [format!("outrigger_connections_active{labels}}} 0")]);
    assert_eq!(
        bench.metrics("outrigger_opaque_connections_closed_total"),
        [format!("outrigger_opaque_connections_closed_total{labels},response_flag=\"\"}} 1")]
    );
    let line = &bench.log()[0];
    assert_eq!((&line["protocol"], &line["status"], &line["bytes_sent"]), (&json!("TCP"), &json!(0), &json!(7)));
}

#[test]
fn decisions_are_counted_by_rule_and_the_dry_run_is_told() {
    let document = json!({"version": 1, "layers": [
        {"source": "p", "authorization": {"rules": [{"name": "a", "action": "Allow", "to": [{"methods": ["GET"]}]}]}},
        {"source": "dry", "dryRun": true, "authorization": {"rules": [{"name": "d", "action": "Deny"}]}}]});
    let bench = Bench::new(&document, AccessLogFormat::Json);
    let port = bench.snapshot.inbound(80);
    let caller = Caller::new("10.0.0.1".parse().unwrap());
    for method in [Method::GET, Method::GET, Method::POST] {
        let parts = request("/", &[]);
        let address = SOURCE.parse().unwrap();
        let mut exchange = Exchange::request(&bench.worker, &port.scope, address, address, &parts);
        let operation = Operation { port: 80, method: &method, path: "/" };
        let enforced = port.authz.request(&caller, &operation);
        exchange.decided(Mode::Enforce, &port.authz, &enforced);
        let dry_run = port.dry_run.as_ref().unwrap();
        exchange.decided(Mode::DryRun, dry_run, &dry_run.request(&caller, &operation));
        match enforced {
            Ok(_) => {
                exchange.status(StatusCode::OK);
                exchange.finished();
            }
            Err(_) => exchange.failed(Error::Unauthorized),
        }
    }
    let mut counted = bench.metrics("outrigger_authorization_total");
    counted.sort();
    assert_eq!(
        counted,
        [
            r#"outrigger_authorization_total{decision="allow",rule="p/a",mode="enforce"} 2"#,
            r#"outrigger_authorization_total{decision="deny",rule="default",mode="enforce"} 1"#,
            r#"outrigger_authorization_total{decision="deny",rule="dry/d",mode="dry_run"} 3"#,
        ]
    );
    let log = bench.log();
    assert_eq!((&log[0]["dry_run"], log[0].get("denied_by")), (&json!("denied by dry/d"), None));
    assert_eq!(
        (&log[2]["denied_by"], &log[2]["status"], &log[2]["flag"]),
        (&json!("default"), &json!(403), &json!("RBAC"))
    );
}

#[test]
fn where_no_policy_says_anything_no_decision_is_counted() {
    let bench = Bench::new(&json!({"version": 1}), AccessLogFormat::None);
    let port = bench.snapshot.inbound(80);
    let address = SOURCE.parse().unwrap();
    let mut exchange = Exchange::opaque(&bench.worker, &port.scope, address, address);
    let decision = port.authz.connection(&Caller::new(address.ip()), 80);
    exchange.decided(Mode::Enforce, &port.authz, &decision);
    drop(exchange);
    assert_eq!(bench.metrics("outrigger_authorization_total"), Vec::<String>::new());
    assert_eq!(bench.telemetry.take_lines(), "");
}

#[test]
fn dry_run_routes_are_compared_with_those_taken() {
    let bench = shop();
    let port = bench.snapshot.outbound(SERVICE.parse().unwrap()).unwrap();
    let parts = request("/new", &[]);
    let mut exchange = bench.outbound(&parts);
    exchange.dry_run_route(port.dry_run.as_ref().unwrap().find(&parts));
    exchange.finished();
    drop(exchange);
    assert_eq!(
        bench.metrics("outrigger_dry_run_routes_total"),
        [r#"outrigger_dry_run_routes_total{destination_service="shop/web",server_port="80",result="different"} 1"#]
    );
    assert_eq!(bench.log()[0]["dry_run"], "route other");
}

#[test]
fn retries_are_counted_by_what_made_them_necessary() {
    let bench = shop();
    let mut exchange = bench.outbound(&request("/", &[]));
    exchange.retried(Error::ConnectRefused);
    exchange.finished();
    assert_eq!(
        bench.metrics("outrigger_retries_total"),
        [
            r#"outrigger_retries_total{direction="outbound",destination_service="shop/web",server_port="80",response_flag="UF"} 1"#
        ]
    );
}
