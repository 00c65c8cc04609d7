//! Connections whose bytes nobody looks into: servers that speak first, half-closed ones, closed ports, refusals.

use super::clients::{TLS_CONNECT_ERROR, curl, ends_by_reset, open};
use super::teller::{QUESTION, Teller};
use super::{APP, At, NOTHING, captured, server};
use e2e::netns::{Proxy, init, program};
use serde_json::json;
use std::io::{Read, Write};
use std::net::Shutdown;

/// Where from, where to, on the port of a server on the other side.
const WAYS: [(At, &str); 4] = [
    (At::Pod, "10.77.0.1:2525"),
    (At::Pod, "[fd77::1]:2525"),
    (At::Peer, "10.77.0.2:2525"),
    (At::Peer, "[fd77::2]:2525"),
];

/// The greeting is heard before anything is said, and what is said after the end of what we say is heard as well.
fn greeted(document: &str, how: &str) {
    let topology = captured();
    let _servers = [At::Pod, At::Peer].map(|at| server(&topology, at, &["greet", "[::]:2525"]));
    let proxy = Proxy::start(&topology.pod, document).unwrap();
    for (from, to) in WAYS {
        let mut stream = open(&topology, from, to);
        let mut greeting = [0; 11];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"220 hello\r\n", "{to}");
        stream.write_all(b"QUIT\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "250 heard 6 bytes\r\n", "{to}");
    }
    let log = proxy.settle().unwrap();
    assert_eq!(log.len(), WAYS.len(), "{log:?}");
    for (_, to) in WAYS {
        // in no certain order: each worker has lines of its own
        let line = log.iter().find(|line| line["destination"] == to).unwrap_or_else(|| panic!("{to}: {log:?}"));
        let got = json!([line["protocol"], line["bytes_received"], line["bytes_sent"], line["flag"]]);
        assert_eq!(got, json!(["TCP", 6, 30, null]), "{line}");
    }
    let label = format!("result=\"{how}\"");
    assert_eq!(proxy.metric("outrigger_protocol_detections_total", &[&label]).unwrap(), 4);
}

#[test]
fn a_server_that_speaks_first_is_heard_where_nothing_is_declared() {
    greeted(NOTHING, "server_first");
}

#[test]
fn a_server_that_speaks_first_is_heard_where_tcp_is_declared() {
    // with a silence that would be felt, if anybody waited for it
    let document = r#"{"version": 1,
        "layers": [{"source": "MeshPolicy/shop/mail", "protocol": {"detectTimeout": "10m",
            "ports": [{"port": 2525, "protocol": "TCP"}]}}],
        "services": [{"name": "shop/mail", "addresses": ["10.77.0.1", "fd77::1"],
            "ports": [{"port": 2525, "protocol": "TCP", "detectTimeout": "10m"}]}]}"#;
    greeted(document, "declared");
}

#[test]
fn each_side_may_close_its_direction_by_itself() {
    let topology = captured();
    let _servers = [At::Pod, At::Peer].map(|at| server(&topology, at, &["echo", "[::]:2525"]));
    let proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    let testapp = init::find_binary("outrigger-testapp", "e2e").unwrap();
    for (from, to) in WAYS {
        let namespace = if from == At::Pod { &topology.pod } else { &topology.peer };
        let mut talk = program::binary(namespace, APP, APP, &testapp).unwrap();
        let output = talk.args(["talk", to, "words that come back"]).output().unwrap();
        assert!(output.status.success(), "{to} {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "words that come back\n", "{to}");
    }
    assert_eq!(proxy.settle().unwrap().len(), WAYS.len());
}

#[test]
fn five_megabytes_come_back_unchanged_behind_a_half_close() {
    // a NUL first: no beginning of anything that is detected
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let topology = captured();
    let _servers = [At::Pod, At::Peer].map(|at| server(&topology, at, &["echo", "[::]:2525"]));
    let proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    for (from, to) in WAYS {
        let mut stream = open(&topology, from, to);
        let mut writing = stream.try_clone().unwrap();
        let mut back = Vec::new();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                writing.write_all(&bytes).unwrap();
                writing.shutdown(Shutdown::Write).unwrap();
            });
            stream.read_to_end(&mut back).unwrap();
            writer.join().unwrap();
        });
        assert!(back == bytes, "{to}: {} bytes came back, others than were sent", back.len());
    }
    for line in proxy.settle().unwrap() {
        assert_eq!(json!([line["bytes_received"], line["bytes_sent"]]), json!([bytes.len(), bytes.len()]), "{line}");
    }
}

#[test]
fn a_closed_port_ends_by_a_reset_whether_the_client_speaks_or_not() {
    let topology = captured();
    let proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    for (from, to) in WAYS {
        for words in [&b"\0\0not http\r\n"[..], b""] {
            let mut stream = open(&topology, from, to);
            stream.write_all(words).unwrap();
            assert!(ends_by_reset(&mut stream), "{to} {words:?}: an ordinary end, as if somebody had listened");
        }
    }
    let log = proxy.settle().unwrap();
    assert_eq!(log.len(), 2 * WAYS.len(), "{log:?}");
    assert!(log.iter().all(|line| line["flag"] == "UF"), "{log:?}");
}

#[test]
fn a_denied_connection_ends_by_a_reset_and_never_reaches_the_application() {
    let document = r#"{"version": 1, "layers": [{"source": "MeshPolicy/shop/closed", "ports": [2525], "authorization":
        {"rules": [{"name": "nobody", "action": "Deny"}]}}]}"#;
    let topology = captured();
    let refusing = Teller::start(&topology.pod, 2525);
    let open_one = Teller::start(&topology.pod, 2526);
    let proxy = Proxy::start(&topology.pod, document).unwrap();
    for host in ["10.77.0.2", "[fd77::2]"] {
        for words in [&b"\0\0not http\r\n"[..], b"\0"] {
            let mut stream = open(&topology, At::Peer, &format!("{host}:2525"));
            stream.write_all(words).unwrap();
            assert!(ends_by_reset(&mut stream), "{host} {words:?}");
        }
        let mut stream = open(&topology, At::Peer, &format!("{host}:2526"));
        stream.write_all(QUESTION).unwrap();
        assert!(!ends_by_reset(&mut stream), "another port isn't closed");
    }
    let log = proxy.settle().unwrap();
    assert_eq!(log.iter().filter(|line| line["flag"] == "RBAC").count(), 4, "{log:?}");
    assert_eq!((refusing.accepted(), open_one.accepted()), (0, 2));
}

#[test]
fn a_closed_port_looks_closed_to_curl_that_begins_tls() {
    let topology = captured();
    let proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    for (from, to) in WAYS {
        let curl = curl(&topology, from, &["--insecure", &format!("https://{to}/")]);
        assert_eq!(curl.code, TLS_CONNECT_ERROR, "{to} {curl:?}");
        assert!(curl.stderr.to_lowercase().contains("reset by peer"), "{to} {curl:?}");
    }
    let log = proxy.settle().unwrap();
    assert_eq!(log.len(), WAYS.len(), "{log:?}");
    assert!(log.iter().all(|line| line["flag"] == "UF" && line["protocol"] == "TCP"), "{log:?}");
}

#[test]
fn an_open_connection_that_a_new_rule_denies_is_cut_and_others_go_on() {
    const CLOSED: &str = r#"{"version": 1, "layers": [{"source": "MeshPolicy/shop/closed", "ports": [2525],
        "authorization": {"rules": [{"name": "nobody", "action": "Deny"}]}}]}"#;
    let topology = captured();
    let _servers = [2525, 2526].map(|port| server(&topology, At::Pod, &["echo", &format!("[::]:{port}")]));
    let mut proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    let mut open = ["10.77.0.2:2525", "[fd77::2]:2525", "10.77.0.2:2526", "[fd77::2]:2526"]
        .map(|to| open(&topology, At::Peer, to));
    fn echoes(stream: &mut std::net::TcpStream) {
        let mut back = [0; 4];
        stream.write_all(b"\0abc").unwrap();
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"\0abc");
    }
    open.iter_mut().for_each(echoes);
    proxy.reload(CLOSED).unwrap();
    let [denied @ .., other, another] = &mut open;
    assert!(denied.iter_mut().all(ends_by_reset));
    echoes(other);
    echoes(another);
}
