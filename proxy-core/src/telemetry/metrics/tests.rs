use super::*;
use crate::telemetry::{AccessLog, Exchange, Telemetry};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

fn shared(text: &str) -> Arc<str> {
    text.into()
}

#[test]
fn the_page_has_what_the_table_says_and_nothing_else() {
    let telemetry = Telemetry::new();
    let worker = telemetry.worker();
    let scope = Arc::new(Scope::new(Direction::Outbound, "shop/web", Some(80), AccessLog::default()));
    let address = "10.0.0.1:80".parse().unwrap();
    let metrics = &telemetry.metrics;
    drop(Exchange::request(&worker, &scope, address, address, &http::Request::new(()).into_parts().0));
    drop(Exchange::opaque(&worker, &scope, address, address));
    worker.connection(&scope).detected(Detected::Http1);
    let port = PortLabels::new(&scope);
    metrics.retried(&port, Error::ConnectRefused);
    metrics.dry_run_route(&port, true);
    metrics.reloaded(Reload::Applied);
    metrics.config_in_force(&shared("sha256:0"), 1, 0, 1);
    metrics.authorization.get_or_create(&AUTHORIZATION.with(["".into(), "".into(), "".into()])).inc();
    metrics.set_panics(1);

    let page = metrics.encode();
    let types: BTreeSet<(&str, &str)> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let table: BTreeSet<(&str, &str)> =
        TABLE.iter().map(|row| (row.name.strip_suffix("_total").unwrap_or(row.name), row.kind)).collect();
    assert_eq!(types, table);
    for row in TABLE {
        let sample = page
            .lines()
            .find(|line| line.starts_with(row.name) && line[row.name.len()..].starts_with(['{', ' ', '_']))
            .unwrap_or_else(|| panic!("{} has no sample in\n{page}", row.name));
        let labels = sample.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
        let names: Vec<&str> = labels.split("\",").filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
        assert_eq!(names, row.labels, "{sample}");
    }
}

#[test]
fn only_the_document_in_force_has_an_info() {
    let telemetry = Telemetry::new();
    let metrics = &telemetry.metrics;
    metrics.config_in_force(&shared("sha256:1"), 1, 0, 10);
    metrics.config_in_force(&shared("sha256:2"), 2, 3, 20);
    metrics.reloaded(Reload::Refused);
    metrics.set_panics(4);
    metrics.set_panics(2);
    let page = metrics.encode();
    for line in [
        "outrigger_config_info{hash=\"sha256:2\"} 1",
        "outrigger_config_generation 2",
        "outrigger_config_unknown_fields 3",
        "outrigger_config_last_success_timestamp_seconds 20",
        "outrigger_config_reload_total{result=\"refused\"} 1",
        "outrigger_panics_total 4",
    ] {
        assert!(page.lines().any(|have| have == line), "{line} is not in\n{page}");
    }
    assert!(!page.contains("sha256:1"));
}

/// Compares a page of the docs with what the tables say; `UPDATE_GOLDEN=1` writes it.
fn golden(name: &str, page: &str) {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, page).unwrap();
    }
    let have = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(have, page, "docs/{name} is old; run the test with UPDATE_GOLDEN=1");
}

#[test]
fn the_docs_page_of_metrics_is_current() {
    let mut page = String::from(
        "# Metrics\n\n<!-- Written by a test of proxy-core from its table of metrics; UPDATE_GOLDEN=1 refreshes it. -->\n\n\
         `outrigger-proxy` serves them on port 15020, `/metrics`, in the OpenMetrics text format.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for Row { name, kind, labels, help } in TABLE {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(page, "| `{name}` | {kind} | {} | {help}. |", labels.join(", "));
    }
    page.push_str(
        "\n## Labels\n\n| label | values |\n|---|---|\n\
         | `direction` | `inbound`: calls to this Pod; `outbound`: calls by it |\n\
         | `destination_service` | `NAMESPACE/NAME` of the called Service; empty where it isn't known |\n\
         | `server_port` | the called port, if the Pod or the document declares it; else `other` |\n\
         | `route`, `cluster` | the route that matched, and the backend chosen; empty: the Service itself |\n\
         | `network_protocol_version` | of HTTP, as the caller speaks it: `1.0`, `1.1`, `2` |\n\
         | `rpc_system` | `grpc`, or empty |\n\
         | `http_response_status_code` | what the caller got; 499 where it left before |\n\
         | `rpc_grpc_status_code` | 0 to 16, or `other` |\n\
         | `response_flag` | what went wrong: see [the access log](access-log.md#flags) |\n\
         | `flow` | `received` from the caller, `sent` to the caller |\n",
    );
    let results: Vec<String> = Detected::ALL.iter().map(|how| format!("`{}`", how.as_str())).collect();
    let _ = writeln!(page, "| `result` of detections | {} |", results.join(", "));
    golden("metrics.md", &page);
}

#[test]
fn the_docs_page_of_the_access_log_is_current() {
    let mut page = String::from(
        "# Access log\n\n<!-- Written by a test of proxy-core from its tables; UPDATE_GOLDEN=1 refreshes it. -->\n\n\
         One line on standard output for each request or opaque connection, when it ends. It is off unless a policy's\n\
         `telemetry.accessLog` or `proxy.accessLog` of mesh.yaml asks for `Text` or `JSON`; a policy's `filter`\n\
         chooses which requests are written.\n\n\
         The text format has the fields in this order with a space between (method, path and protocol in one pair of\n\
         quotes; absent ones are `-`); JSON has them by name, and leaves absent ones out. Texts that peers send are\n\
         escaped and cut at 2048 bytes, so that no request can forge a line.\n\n\
         | field | meaning |\n|---|---|\n",
    );
    for (name, meaning) in crate::telemetry::access_log::FIELDS {
        let _ = writeln!(page, "| `{name}` | {meaning} |");
    }
    page.push_str("\n## Flags\n\n| flag | meaning |\n|---|---|\n");
    for (flag, meaning) in crate::error::FLAGS {
        let flag = if flag.is_empty() { "(empty)".to_owned() } else { format!("`{flag}`") };
        let _ = writeln!(page, "| {flag} | {meaning} |");
    }
    page.push_str(
        "\nAn answer of the proxy's own carries one of these statuses:\n\n\
         | flag | HTTP | gRPC | sent again without a policy | cause |\n|---|---|---|---|---|\n",
    );
    for error in Error::ALL {
        let entry = error.entry();
        let retry = match entry.retry {
            crate::error::Retry::NeverDelivered => "every method",
            crate::error::Retry::Idempotent => "idempotent methods",
            crate::error::Retry::No => "no",
        };
        let (status, code) = (entry.status.as_u16(), entry.grpc as u8);
        let _ = writeln!(page, "| `{}` | {status} | {code} | {retry} | {error} |", entry.flag);
    }
    golden("access-log.md", &page);
}
