use super::*;
use http::Request;
use serde_json::{Value, json};

fn routes(routes: &Value) -> Routes {
    let routes: Vec<proxy::Route> = serde_json::from_value(routes.clone()).unwrap();
    let mut problems = Problems::default();
    let compiled = Routes::new("routes", &routes, &HashMap::new(), &mut problems);
    problems.or(compiled).unwrap()
}

/// `METHOD URI`, then headers `name:value`, all with spaces between.
fn ask<'a>(routes: &'a Routes, request: &str) -> &'a str {
    let mut words = request.split(' ');
    let mut builder = Request::builder().method(words.next().unwrap()).uri(words.next().unwrap());
    for header in words {
        let (name, value) = header.split_once(':').unwrap();
        builder = builder.header(name, value);
    }
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    routes.find(&parts).map_or("-", |route| &route.name)
}

fn table(document: &Value, requests: &[(&str, &str)]) {
    let routes = routes(document);
    for (request, want) in requests {
        assert_eq!(ask(&routes, request), *want, "{request}");
    }
}

fn route(name: &str, matches: Value) -> Value {
    json!({"name": name, "matches": matches})
}

#[test]
fn a_route_without_matches_takes_every_request_that_nothing_else_takes() {
    table(
        &json!([{"name": "all"}, route("one", json!([{"path": {"type": "Exact", "value": "/one"}}]))]),
        &[("GET /", "all"), ("GET /one", "one"), ("POST /one/x", "all"), ("OPTIONS *", "all")],
    );
    table(&json!([]), &[("GET /", "-")]);
}

#[test]
fn the_best_match_wins_whatever_the_order() {
    let mut all = vec![
        route("exact", json!([{"path": {"type": "Exact", "value": "/a/b"}}])),
        route("expression", json!([{"path": {"type": "RegularExpression", "value": "/a/[a-z]+"}}])),
        route("longer-expression", json!([{"path": {"type": "RegularExpression", "value": "/a/[a-z]+/[a-z]+"}}])),
        route("long", json!([{"path": {"value": "/a/B"}}])),
        route("short", json!([{"path": {"value": "/a/"}}])),
        route("root", json!([{"path": {"value": "/"}}])),
    ];
    let requests = [
        ("GET /a/b", "exact"),
        ("GET /a/c", "expression"),
        ("GET /a/b/c", "longer-expression"),
        ("GET /a/B", "long"),
        ("GET /a/B/1", "long"),
        ("GET /a/Bx", "short"),
        ("GET /a", "short"),
        ("GET /ab", "root"),
        ("GET /A/b", "root"),
        ("GET /a%2Fb", "root"),
        ("GET /a/b?x=1", "exact"),
    ];
    for _ in 0..all.len() {
        table(&json!(all), &requests);
        all.rotate_left(1);
    }
}

#[test]
fn of_one_path_method_then_headers_then_parameters_then_the_name_decide() {
    let header = |name: &str| json!({"name": name, "value": "1"});
    let mut all = vec![
        route("b", json!([{}])),
        route("a", json!([{}])),
        route("param", json!([{"queryParams": [header("q")]}])),
        route("header", json!([{"headers": [header("x-a")]}])),
        route("two-headers", json!([{"headers": [header("x-a"), header("x-b")]}])),
        route("method", json!([{"method": "PUT"}])),
    ];
    let requests = [
        ("GET /", "a"),
        ("GET /?q=1", "param"),
        ("GET /?q=1 x-a:1", "header"),
        ("GET /?q=1 x-a:1 x-b:1", "two-headers"),
        ("PUT /?q=1 x-a:1 x-b:1", "method"),
        ("GET / x-a:2", "a"),
    ];
    for _ in 0..all.len() {
        table(&json!(all), &requests);
        all.rotate_left(1);
    }
}

#[test]
fn a_longer_prefix_that_fails_by_another_field_leaves_the_request_to_a_shorter_one() {
    table(
        &json!([
            route("canary", json!([{"path": {"value": "/api/v2"}, "headers": [{"name": "X-Canary", "value": "1"}]}])),
            route("api", json!([{"path": {"value": "/api"}}])),
        ]),
        &[("GET /api/v2/x", "api"), ("GET /api/v2/x x-canary:1", "canary"), ("GET /x x-canary:1", "-")],
    );
}

#[test]
fn values_are_compared_whole_and_as_they_were_meant() {
    let value = |kind: &str, name: &str, value: &str| json!([{"type": kind, "name": name, "value": value}]);
    table(
        &json!([
            route("host", json!([{"headers": value("Exact", "host", "shop.example")}])),
            route("list", json!([{"headers": value("Exact", "x-l", "a, b")}])),
            route("expression", json!([{"headers": value("RegularExpression", "x-e", "v[0-9]")}])),
            route("param", json!([{"queryParams": value("Exact", "a b", "c&d")}])),
        ]),
        &[
            ("GET http://shop.example/", "host"),
            ("GET / host:shop.example", "host"),
            ("GET / x-l:a x-l:b", "list"),
            ("GET / x-l:a", "-"),
            ("GET / x-e:v1", "expression"),
            ("GET / x-e:v10", "-"),
            ("GET /?a+b=c%26d", "param"),
            ("GET /?a%20b=c%26d&x", "param"),
            ("GET /?a+b=x&a+b=c%26d", "-"),
            ("GET /?A+b=c%26d", "-"),
        ],
    );
}

#[test]
fn of_two_entries_for_one_name_the_first_counts() {
    let twice = json!([{"name": "x-a", "value": "1"}, {"name": "X-A", "value": "2"}]);
    let parameters = json!([{"name": "q", "value": "1"}, {"name": "q", "value": "2"}]);
    table(
        &json!([route("r", json!([{"headers": twice, "queryParams": parameters}]))]),
        &[("GET /?q=1 x-a:1", "r"), ("GET /?q=2 x-a:2", "-")],
    );
}

#[test]
fn backends_get_their_share() {
    let names = ["a", "b", "c"];
    let clusters: HashMap<&str, Arc<Cluster>> =
        names.iter().map(|name| (*name, Arc::new(Cluster::new(name, vec![])))).collect();
    let document = json!({"name": "r", "backends": [
        {"cluster": "a", "weight": 90}, {"cluster": "b", "weight": 0}, {"cluster": "c", "weight": 10}]});
    let document: proxy::Route = serde_json::from_value(document).unwrap();
    let mut problems = Problems::default();
    let route = Route::new("r", &document, &clusters, &mut problems);
    let name = |random: u32| match route.backend(random) {
        Target::Service => "-".to_owned(),
        Target::Cluster(cluster) => cluster.name.to_string(),
    };
    let mut counts = HashMap::new();
    for step in 0..1000_u32 {
        *counts.entry(name(step * (u32::MAX / 1000))).or_insert(0) += 1;
    }
    assert_eq!((counts.get("a"), counts.get("b"), counts.get("c")), (Some(&901), None, Some(&99)));
    assert_eq!((name(0), name(u32::MAX)), ("a".into(), "c".into()));

    let service = Route::new("r", &proxy::Route::default(), &clusters, &mut problems);
    assert!(matches!(service.backend(7), Target::Service));
    assert_eq!(problems, Problems::default());
}

#[test]
fn zero_is_off_and_only_the_idle_timeout_has_a_default() {
    let timeouts = |timeouts: Value| {
        let document: proxy::Route = serde_json::from_value(json!({"name": "r", "timeouts": timeouts})).unwrap();
        Route::new("r", &document, &HashMap::new(), &mut Problems::default()).timeouts
    };
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!(timeouts(json!({})), Timeouts { request: None, backend_request: None, idle: seconds(300) });
    assert_eq!(
        timeouts(json!({"request": "2s", "backendRequest": "1s", "idle": "0s"})),
        Timeouts { request: seconds(2), backend_request: seconds(1), idle: None }
    );
    assert_eq!(timeouts(json!({"request": "0s"})).request, None);
}

#[test]
fn what_validation_would_have_refused_is_a_problem_with_its_place() {
    let document = json!([{"name": "r", "backends": [{"cluster": "none", "weight": 1}], "matches": [
        {"path": {"type": "RegularExpression", "value": "("}, "method": "a b", "headers": [{"name": "a b", "value": ""}]}]}]);
    let documents: Vec<proxy::Route> = serde_json::from_value(document).unwrap();
    let mut problems = Problems::default();
    Routes::new("routes", &documents, &HashMap::new(), &mut problems);
    let paths: Vec<&str> = problems.0.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "routes[0].backends[0].cluster",
            "routes[0].matches[0].method",
            "routes[0].matches[0].headers[0].name",
            "routes[0].matches[0].path.value"
        ]
    );
}
