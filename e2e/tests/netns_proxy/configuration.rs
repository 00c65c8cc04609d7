//! The document's file while connections are open: none, a new one, a broken one.

use super::clients::{get, is_reset, open};
use super::{At, NOTHING, captured, server};
use e2e::netns::Proxy;
use e2e::netns::program::until;
use mesh_config::names::PORT_HEALTH;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

const NO_ADMIN: &str = r#"{"version": 1, "layers": [{"source": "MeshPolicy/shop/no-admin", "authorization": {"rules": [
    {"name": "no-admin", "action": "Deny", "to": [{"paths": [{"value": "/admin"}]}]}]}}]}"#;

/// One request on a connection that is kept; its status.
fn ask(stream: &TcpStream, path: &str) -> u16 {
    let mut writing = stream;
    write!(writing, "GET {path} HTTP/1.1\r\nhost: web\r\n\r\n").unwrap();
    let mut reading = BufReader::new(stream);
    let mut status = String::new();
    reading.read_line(&mut status).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reading.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        assert_ne!(line, "connection: close", "the connection isn't kept");
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    reading.read_exact(&mut vec![0; length]).unwrap();
    status.split(' ').nth(1).unwrap_or_else(|| panic!("'{status}'")).parse().unwrap()
}

#[test]
fn without_a_document_it_is_not_ready_and_resets_whatever_is_captured() {
    let topology = captured();
    let _servers = [At::Pod, At::Peer].map(|at| server(&topology, at, &["serve", "[::]:8080", "web"]));
    let mut proxy = Proxy::start_without_document(&topology.pod).unwrap();
    let (status, page) = proxy.page(PORT_HEALTH, "/healthz/ready").unwrap();
    assert_eq!(status, 503, "{page}");
    for (from, to) in [(At::Pod, "10.77.0.1:8080"), (At::Peer, "[fd77::2]:8080")] {
        assert!(is_reset(&topology, from, to), "{to}");
    }
    proxy.reload(NOTHING).unwrap();
    assert_eq!(get(&topology, At::Pod, "--http1.1", "http://10.77.0.1:8080/"), "200");
    assert_eq!(get(&topology, At::Peer, "--http1.1", "http://[fd77::2]:8080/"), "200");
    proxy.assert_well().unwrap();
}

#[test]
fn a_new_document_holds_for_the_next_request_of_a_connection_that_stays_open() {
    let topology = captured();
    let _servers = [At::Pod, At::Peer].map(|at| server(&topology, at, &["serve", "[::]:8080", "web"]));
    let mut proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    let inbound = ["10.77.0.2:8080", "[fd77::2]:8080"].map(|to| open(&topology, At::Peer, to));
    let outbound = open(&topology, At::Pod, "10.77.0.1:8080");
    for stream in inbound.iter().chain([&outbound]) {
        assert_eq!(ask(stream, "/admin"), 200);
    }
    proxy.reload(NO_ADMIN).unwrap();
    for stream in &inbound {
        assert_eq!([ask(stream, "/admin"), ask(stream, "/public")], [403, 200]);
    }
    assert_eq!(ask(&outbound, "/admin"), 200, "rules are the called side's");
    proxy.reload(NOTHING).unwrap();
    for stream in inbound.iter().chain([&outbound]) {
        assert_eq!(ask(stream, "/admin"), 200);
    }
    assert_eq!(proxy.metric("outrigger_connections_opened_total", &[]).unwrap(), 3);
    drop((inbound, outbound));
    let log = proxy.settle().unwrap();
    assert_eq!(log.len(), 11, "{log:?}");
}

#[test]
fn a_broken_document_keeps_the_last_good_one_and_is_named() {
    let topology = captured();
    let _servers = [At::Pod, At::Peer].map(|at| server(&topology, at, &["serve", "[::]:8080", "web"]));
    let mut proxy = Proxy::start(&topology.pod, NO_ADMIN).unwrap();
    let hash = proxy.config_dump().unwrap()["inForce"]["hash"].clone();
    let kept = open(&topology, At::Peer, "10.77.0.2:8080");
    assert_eq!(ask(&kept, "/public"), 200);
    let broken = [
        ("{\"version\": 1, \"layers\": [", ""),
        ("{\"version\": 1, \"layers\": [{\"source\": \"x\", \"accessLog\": {\"filter\": \"status >\"}}]}", "layers"),
        ("{\"version\": 2}", "version"),
    ];
    for (number, (document, place)) in broken.iter().enumerate() {
        proxy.replace_document(document).unwrap();
        let refused = || proxy.metric("outrigger_config_reload_total", &["result=\"refused\""]).unwrap();
        until("the document refused", || Ok((refused() == number as u64 + 1).then_some(()))).unwrap();
        let dump = proxy.config_dump().unwrap();
        let problems = dump["refused"]["problems"].as_array().unwrap_or_else(|| panic!("{dump}"));
        assert!(!problems.is_empty() && problems[0].to_string().contains(place), "{document}: {problems:?}");
        assert_eq!(dump["inForce"]["hash"], hash);
        assert_eq!([ask(&kept, "/admin"), ask(&kept, "/public")], [403, 200], "{document}");
        assert_eq!(get(&topology, At::Peer, "--http1.1", "http://[fd77::2]:8080/admin"), "403");
        assert_eq!(get(&topology, At::Pod, "--http1.1", "http://10.77.0.1:8080/"), "200");
        proxy.assert_well().unwrap();
    }
    proxy.reload(NOTHING).unwrap();
    assert!(proxy.config_dump().unwrap()["refused"].is_null());
    assert_eq!(ask(&kept, "/admin"), 200);
}
