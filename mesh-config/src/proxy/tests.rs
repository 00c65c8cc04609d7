use super::*;
use crate::{ContainerPort, selector::Labels};
use serde_json::json;

fn valid(document: serde_json::Value) -> Valid {
    Valid::from_bytes(document.to_string().as_bytes()).unwrap()
}

fn problems(document: serde_json::Value) -> Vec<String> {
    Valid::from_bytes(document.to_string().as_bytes()).unwrap_err().0.into_iter().map(|p| p.to_string()).collect()
}

fn labels(app: &str) -> Labels {
    [("app".to_owned(), app.to_owned())].into()
}

fn port(name: &str, port: u16) -> ContainerPort {
    ContainerPort { container: "c".into(), name: Some(name.into()), port, protocol: None }
}

#[test]
fn a_document_comes_back_byte_by_byte_and_yaml_reads_the_same() {
    let json =
        json!({"version": 1, "layers": [{"source": "a", "ports": ["http", 81], "accessLog": {"format": "JSON"}}]});
    let parsed = Document::parse(json.to_string().as_bytes()).unwrap();
    let text = parsed.document.to_json();
    assert_eq!(Document::parse(text.as_bytes()).unwrap(), parsed);
    assert_eq!(Document::parse(text.as_bytes()).unwrap().document.to_json(), text);
    let yaml = "version: 1\nlayers:\n- source: a\n  ports: [http, 81]\n  accessLog: {format: JSON}\n";
    assert_eq!(Document::parse(yaml.as_bytes()).unwrap(), parsed);
}

#[test]
fn what_is_no_document_is_refused_with_its_place() {
    for (text, path) in [
        ("{", ""),
        ("", ""),
        ("{\"version\": 1} x", ""),
        ("{\"version\": \"1\"}", "version"),
        ("{\"version\": 1, \"layers\": [{\"source\": \"a\", \"ports\": [0]}]}", "layers[0].ports[0]"),
        (
            "{\"version\": 1, \"layers\": [{\"source\": \"a\", \"accessLog\": {\"format\": \"xml\"}}]}",
            "layers[0].accessLog.format",
        ),
    ] {
        let problems = Document::parse(text.as_bytes()).unwrap_err();
        assert_eq!(problems.0[0].path, path, "{text}: {problems}");
    }
    assert!(Document::parse(b"\xff\xfe").is_err());
}

#[test]
fn unknown_fields_are_counted_and_close_only_the_layer_whose_authorization_they_are_in() {
    let document = valid(json!({
        "version": 1, "new": 1,
        "layers": [
            {"source": "a", "new": {}},
            {"source": "b", "authorization": {"rules": [{"name": "r", "action": "Allow", "from": [{"ids": ["x"]}]}]}},
        ],
    }));
    assert_eq!(document.unknown(), ["layers.0.new", "layers.1.authorization.?.rules.0.from.0.ids", "new"]);
    assert_eq!((document.is_closed(0), document.is_closed(1)), (false, true));
    let workload = Workload::new(&document, &labels("web"), &[]);
    assert_eq!(workload.others.authorization.closed.as_deref(), Some("b"));
}

#[test]
fn all_problems_are_reported_with_their_paths() {
    let found = problems(json!({
        "version": 2,
        "layers": [{"source": "", "authorization": {"rules": [
            {"name": "", "action": "Deny", "to": [{"methods": ["GE T"], "paths": [{"value": "x"}]}]}]}}],
        "services": [{"name": "s/a", "addresses": ["10.0.0.1"], "ports": [{"port": 80, "routes": [
            {"name": "r", "matches": [{"path": {"type": "RegularExpression", "value": "a)|(b"}}],
             "backends": [{"cluster": "none", "weight": 0}], "timeouts": {"request": "1s", "backendRequest": "2s"}},
            {"name": "r"}]}]},
            {"name": "s/b", "addresses": ["10.0.0.1"], "ports": [{"port": 80}]}],
        "clusters": {"c": {"endpoints": [{"addresses": [], "port": 0}]}},
    }));
    let paths: Vec<_> = found.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "version",
            "layers[0].source",
            "layers[0].authorization.rules[0].name",
            "layers[0].authorization.rules[0].to[0].methods[0]",
            "layers[0].authorization.rules[0].to[0].paths[0].value",
            "services[0].ports[0].routes[0].matches[0].path.value",
            "services[0].ports[0].routes[0].backends[0].cluster",
            "services[0].ports[0].routes[0].backends",
            "services[0].ports[0].routes[0].timeouts.backendRequest",
            "services[0].ports[0].routes[1].name",
            "services[1].ports[0]",
            "clusters[\"c\"].endpoints[0].addresses",
            "clusters[\"c\"].endpoints[0].port",
        ]
    );
}

#[test]
fn later_layers_win_field_by_field_and_only_where_they_select() {
    let document = valid(json!({"version": 1, "layers": [
        {"source": "Service/shop/web", "selector": {"matchLabels": {"app": "web"}},
         "protocol": {"ports": [{"port": "http", "protocol": "HTTP"}]}},
        {"source": "ns", "protocol": {"detectTimeout": "1s"}, "accessLog": {"format": "Text", "filter": "status >= 500"}},
        {"source": "pod", "selector": {"matchLabels": {"app": "web"}}, "protocol": {"ports": [{"port": 9, "protocol": "TCP"}]}},
        {"source": "port", "ports": ["http"], "accessLog": {"format": "JSON"}},
        {"source": "other", "selector": {"matchLabels": {"app": "db"}}, "accessLog": {"format": "None"}},
    ]}));
    let workload = Workload::new(&document, &labels("web"), &[port("http", 8080)]);
    assert_eq!(workload.ports.keys().copied().collect::<Vec<_>>(), [9, 8080]);
    let http = workload.port(8080);
    assert_eq!((http.protocol, http.detect_timeout), (Some(Protocol::Http), Some(Duration::from_secs(1))));
    assert_eq!(http.access_log.format, Some(AccessLogFormat::Json));
    assert_eq!(http.access_log.filter.as_ref().unwrap().to_string(), "status >= 500");
    assert_eq!(workload.port(9).protocol, Some(Protocol::Tcp));
    assert_eq!(workload.port(1).access_log.format, Some(AccessLogFormat::Text));
    assert_eq!(workload.outbound_access_log.format, Some(AccessLogFormat::Text));
}

#[test]
fn rules_unite_and_the_strictest_default_holds() {
    let document = valid(json!({"version": 1, "layers": [
        {"source": "a", "authorization": {"default": "Deny"}},
        {"source": "b", "authorization": {"default": "Allow", "rules": [{"name": "r", "action": "Deny"}]}},
    ]}));
    let authorization = Workload::new(&document, &labels("web"), &[]).others.authorization;
    assert_eq!(authorization.default(), Verdict::Deny);
    assert_eq!(authorization.rules.len(), 1);
}

#[test]
fn an_allow_rule_makes_the_default_deny_even_where_it_matches_nothing() {
    let with = |never: bool| {
        let rule = json!({"name": "r", "action": "Allow", "never": never});
        let document = valid(json!({"version": 1, "layers": [{"source": "a", "authorization": {"rules": [rule]}}]}));
        Workload::new(&document, &labels("web"), &[]).others.authorization.default()
    };
    assert_eq!((with(false), with(true)), (Verdict::Deny, Verdict::Deny));
    assert!(Workload::new(&valid(json!({"version": 1})), &labels("web"), &[]).others.authorization.allows_everything());
}

#[test]
fn dry_run_stands_beside_what_is_enforced_and_hears_of_stronger_layers() {
    let document = valid(json!({"version": 1, "layers": [
        {"source": "dry", "dryRun": true, "authorization": {"default": "Deny"}},
        {"source": "later", "authorization": {"rules": [{"name": "r", "action": "Deny"}]}},
    ]}));
    let policy = Workload::new(&document, &labels("web"), &[]).others;
    assert_eq!(policy.authorization.default(), Verdict::Allow);
    let dry_run = policy.dry_run.unwrap();
    assert_eq!((dry_run.default(), dry_run.rules.len()), (Verdict::Deny, 1));
}
