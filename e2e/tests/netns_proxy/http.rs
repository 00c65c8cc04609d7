//! HTTP as curl speaks it, through both sides of the proxy and in both families.

use super::clients::{curl, get};
use super::{At, NOTHING, captured, server};
use e2e::netns::Proxy;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Where a program calls from, which URL, and whom the called one sees.
const WAYS: [(At, &str, &str); 4] = [
    (At::Pod, "10.77.0.1:8080", "10.77.0.2"),
    (At::Pod, "[fd77::1]:8080", "fd77::2"),
    (At::Peer, "10.77.0.2:8080", "127.0.0.6"),
    (At::Peer, "[fd77::2]:8080", "::6"),
];

fn direction(from: At) -> &'static str {
    if from == At::Pod { "outbound" } else { "inbound" }
}

/// The address without its port, IPv4 as such.
fn ip(text: &Value) -> String {
    let address: std::net::SocketAddr = text.as_str().unwrap().parse().unwrap();
    address.ip().to_canonical().to_string()
}

#[test]
fn both_versions_pass_both_sides_in_both_families() {
    let topology = captured();
    let _servers = [At::Pod, At::Peer].map(|at| server(&topology, at, &["serve", "[::]:8080", "web"]));
    let mut proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    let versions = [("--http1.1", "HTTP/1.1"), ("--http2-prior-knowledge", "HTTP/2.0")];
    for (flag, version) in versions {
        for (from, to, seen) in WAYS {
            let before = proxy.settle().unwrap().len();
            let curl = curl(&topology, from, &[flag, "-f", "-H", "x-own: kept", &format!("http://{to}/a/b?c=d")]);
            assert_eq!(curl.code, 0, "{flag} {to} {curl:?}");
            let answer: Value = serde_json::from_str(&curl.stdout).unwrap();
            let got = json!([answer["version"], answer["path"], answer["headers"]["x-own"], ip(&answer["remote"])]);
            assert_eq!(got, json!([version, "/a/b", "kept", seen]), "{flag} {to}");
            let log = proxy.settle().unwrap();
            assert_eq!(log.len(), before + 1, "one request, one line: {log:?}");
            let line = &log[before];
            let got = ["direction", "protocol", "path", "destination"].map(|key| line[key].as_str().unwrap());
            assert_eq!(got, [direction(from), version, "/a/b", to], "{line}");
            assert_eq!(line["status"], 200, "{line}");
        }
    }
    proxy.assert_well().unwrap();
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let topology = captured();
    let _servers = [At::Pod, At::Peer].map(|at| server(&topology, at, &["serve", "[::]:8080", "web"]));
    let proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    for (from, to, _) in WAYS {
        let label = format!("direction=\"{}\"", direction(from));
        let opened = || proxy.metric("outrigger_connections_opened_total", &[&label]).unwrap();
        let before = opened();
        let urls = [1, 2, 3].map(|n| format!("http://{to}/{n}"));
        // HTTP/1.1: curl 7.88 (Debian 12) can't use a connection of prior-knowledge HTTP/2 again, with any server
        let mut words = vec!["--http1.1", "-f", "-w", "connects %{num_connects}\n"];
        words.extend(urls.iter().map(String::as_str));
        let curl = curl(&topology, from, &words);
        assert_eq!(curl.code, 0, "{curl:?}");
        let (connects, answers): (Vec<&str>, Vec<&str>) =
            curl.stdout.lines().partition(|line| line.starts_with("connects"));
        assert_eq!(connects, ["connects 1", "connects 0", "connects 0"], "{to}");
        let remotes = answers.iter().map(|text| serde_json::from_str::<Value>(text).unwrap()["remote"].clone());
        let remotes: Vec<Value> = remotes.collect();
        assert!(
            remotes.len() == 3 && remotes.iter().all(|one| *one == remotes[0]),
            "also behind the proxy: {remotes:?}"
        );
        assert_eq!(opened() - before, 1, "{to}");
    }
}

/// A file that everybody may read, as long as this lives.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn large_bodies_pass_both_ways() {
    const SIZE: usize = 5_000_000;
    let file = File(std::env::temp_dir().join(format!("outrigger-body-{}", std::process::id())));
    std::fs::write(&file.0, vec![b'y'; SIZE]).unwrap();
    let body = format!("@{}", file.0.display());
    let topology = captured();
    let _servers = [At::Pod, At::Peer].map(|at| server(&topology, at, &["serve", "[::]:8080", "web"]));
    let proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    for flag in ["--http1.1", "--http2-prior-knowledge"] {
        for (from, to, _) in WAYS {
            let before = proxy.settle().unwrap().len();
            let up = curl(&topology, from, &[flag, "-f", "--data-binary", &body, &format!("http://{to}/up")]);
            assert_eq!(up.code, 0, "{flag} {to} {up:?}");
            let answer: Value = serde_json::from_str(&up.stdout).unwrap();
            assert_eq!(answer["received"], SIZE, "{flag} {to}");
            let url = format!("http://{to}/down?size={SIZE}");
            let down = curl(&topology, from, &[flag, "-f", &url]);
            assert_eq!((down.code, down.stdout.len()), (0, SIZE), "{flag} {to} {}", down.stderr);
            let log = proxy.settle().unwrap();
            let of = |path: &str, key: &str| {
                let line = log[before..].iter().find(|line| line["path"] == path);
                line.map_or(Value::Null, |line| line[key].clone())
            };
            let sizes = [of("/up", "bytes_received"), of("/down", "bytes_sent")];
            assert_eq!(sizes, [json!(SIZE), json!(SIZE)], "{flag} {to} {log:?}");
        }
    }
}

#[test]
fn a_closed_port_answers_503_and_names_the_failed_connection() {
    let topology = captured();
    let proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    for (from, to, _) in WAYS {
        let before = proxy.settle().unwrap().len();
        let curl = curl(&topology, from, &["-o", "/dev/null", "-w", "%{http_code}", &format!("http://{to}/")]);
        assert_eq!((curl.code, curl.stdout.as_str()), (0, "503"), "{to} {curl:?}");
        let log = proxy.settle().unwrap();
        assert_eq!(log.len(), before + 1, "{log:?}");
        assert_eq!((&log[before]["status"], &log[before]["flag"]), (&json!(503), &json!("UF")), "{log:?}");
    }
}

#[test]
fn a_denied_request_is_answered_403_and_never_reaches_the_application() {
    let document = r#"{"version": 1, "layers": [{"source": "MeshPolicy/shop/no-admin", "authorization": {"rules": [
        {"name": "no-admin", "action": "Deny", "to": [{"paths": [{"type": "PathPrefix", "value": "/admin"}]}]}]}}]}"#;
    let topology = captured();
    let _servers = [At::Pod, At::Peer].map(|at| server(&topology, at, &["serve", "[::]:8080", "web"]));
    let proxy = Proxy::start(&topology.pod, document).unwrap();
    for flag in ["--http1.1", "--http2-prior-knowledge"] {
        for (from, to, _) in WAYS {
            let allowed = get(&topology, from, flag, &format!("http://{to}/public"));
            assert_eq!(allowed, "200", "{flag} {to}");
            let denied = get(&topology, from, flag, &format!("http://{to}/admin/keys"));
            // rules are the called side's
            assert_eq!(denied, if from == At::Peer { "403" } else { "200" }, "{flag} {to}");
        }
    }
    let log = proxy.settle().unwrap();
    let refused: Vec<&Value> = log.iter().filter(|line| line["status"] == 403).collect();
    assert_eq!(refused.len(), 4, "{log:?}");
    for line in refused {
        assert_eq!((&line["flag"], &line["upstream"]), (&json!("RBAC"), &Value::Null), "{line}");
        assert_eq!(line["denied_by"], "MeshPolicy/shop/no-admin/no-admin", "{line}");
    }
}
