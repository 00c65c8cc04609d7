//! What the proxy survives: connections to its own ports, garbage, clients that say nothing, its own death.

use super::clients::{CANNOT_CONNECT, curl, ends_by_reset, get, is_reset, open, try_open};
use super::teller::Teller;
use super::{At, NOTHING, captured, server};
use e2e::netns::Proxy;
use e2e::netns::program::until;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

#[test]
fn direct_connections_to_the_proxys_own_ports_are_reset_and_cause_no_loop() {
    const TIMES: usize = 25;
    let topology = captured();
    let mut proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    let before = proxy.log().len();
    let mut opened = 0;
    for (from, hosts) in [(At::Peer, ["10.77.0.2", "[fd77::2]"]), (At::Pod, ["127.0.0.1", "[fd77::2]"])] {
        for to in hosts.iter().flat_map(|host| [15001, 15006].map(|port| format!("{host}:{port}"))) {
            for _ in 0..TIMES {
                assert!(is_reset(&topology, from, &to), "{from:?} to {to}");
                opened += 1;
            }
        }
    }
    assert_eq!(proxy.settle().unwrap().len(), 0, "none of them is passed on");
    let refused = proxy.metric("outrigger_opaque_connections_closed_total", &["response_flag=\"LOOP\""]).unwrap();
    assert_eq!(refused, opened, "each is refused once, and causes no other");
    let lines = proxy.log().len() - before;
    assert!(lines <= 5, "{opened} connections, {lines} lines:\n{}", proxy.log().join("\n"));
    proxy.assert_well().unwrap();
}

#[test]
fn garbage_on_every_port_leaves_the_proxy_running() {
    let mut noise = vec![0_u8; 70_000];
    let mut state = 0x6f75_7472_u32;
    for byte in &mut noise {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    let long_line = [b"GET /", &[b'a'; 70_000][..]].concat();
    let garbage: [&[u8]; 8] = [
        &noise,
        &long_line,
        b"GET / HTTP/1.1\r\n\0\0\0: \x7f\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x16\x03\x01\xff\xff\x01\xff\xff",
        b"\r\n\r\n\r\n",
        b"",
    ];
    let topology = captured();
    let _servers = [At::Pod, At::Peer].map(|at| server(&topology, at, &["serve", "[::]:8080", "web"]));
    let mut proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    // its own ports from where each can be reached, and what it passes on
    let mut targets: Vec<(At, String)> = vec![(At::Pod, "127.0.0.1:15000".into()), (At::Pod, "[::1]:15000".into())];
    for host in ["10.77.0.2", "[fd77::2]"] {
        targets.extend([15001, 15006, 15020, 15021, 8080].map(|port| (At::Peer, format!("{host}:{port}"))));
    }
    targets.extend([(At::Pod, "10.77.0.1:8080".into()), (At::Pod, "[fd77::1]:8080".into())]);
    for (from, to) in &targets {
        for bytes in garbage {
            let mut stream = match try_open(&topology, *from, to) {
                Ok(stream) => stream,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => continue,
                Err(error) => panic!("{from:?} to {to}: {error}"),
            };
            // it may be refused in the middle; all that counts comes afterwards
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            if let Err(error) = stream.read_to_end(&mut Vec::new()) {
                let reset = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::NotConnected);
                assert!(reset, "{from:?} to {to} with {} bytes: {error}", bytes.len());
            }
        }
    }
    proxy.settle().unwrap();
    proxy.assert_well().unwrap();
    assert_eq!(get(&topology, At::Pod, "--http1.1", "http://10.77.0.1:8080/"), "200");
    assert_eq!(get(&topology, At::Peer, "--http2-prior-knowledge", "http://[fd77::2]:8080/"), "200");
    assert!(proxy.config_dump().unwrap()["inForce"].is_object());
}

#[test]
fn clients_that_connect_and_say_nothing_stop_nobody_else() {
    const EACH: usize = 100;
    let topology = captured();
    let _servers = [At::Pod, At::Peer].map(|at| server(&topology, at, &["serve", "[::]:8080", "web"]));
    let mut proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    let mut silent = Vec::new();
    for (from, to) in [(At::Pod, "10.77.0.1:8080"), (At::Peer, "[fd77::2]:8080")] {
        silent.extend((0..EACH).map(|_| open(&topology, from, to)));
    }
    let open_now = || proxy.metric("outrigger_connections_active", &[]).unwrap() as usize;
    until("all silent connections accepted", || Ok((open_now() == 2 * EACH).then_some(()))).unwrap();
    for (from, url) in [(At::Pod, "http://[fd77::1]:8080/"), (At::Peer, "http://10.77.0.2:8080/")] {
        for flag in ["--http1.1", "--http2-prior-knowledge"] {
            assert_eq!(get(&topology, from, flag, url), "200");
        }
    }
    // and each of them can still say something
    for number in [0, EACH] {
        let stream = &mut silent[number];
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(silent);
    proxy.settle().unwrap();
    proxy.assert_well().unwrap();
}

#[test]
fn without_the_proxy_connections_are_refused_and_never_bypass_it() {
    let topology = captured();
    let mut proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    let behind = [Teller::start(&topology.pod, 8080), Teller::start(&topology.peer, 8080)];
    let ways = [
        (At::Pod, "10.77.0.1:8080"),
        (At::Pod, "[fd77::1]:8080"),
        (At::Peer, "10.77.0.2:8080"),
        (At::Peer, "[fd77::2]:8080"),
    ];
    let mut kept = open(&topology, At::Pod, "10.77.0.1:8080");
    proxy.kill().unwrap();
    let end = kept.read(&mut [0]);
    assert!(matches!(end, Ok(0)) || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    let before: usize = behind.iter().map(Teller::accepted).sum();
    for (from, to) in ways {
        let error = try_open(&topology, from, to).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}");
        let curl = curl(&topology, from, &[&format!("http://{to}/")]);
        assert_eq!(curl.code, CANNOT_CONNECT, "{to} {curl:?}");
    }
    assert_eq!(behind.iter().map(Teller::accepted).sum::<usize>(), before, "a connection has bypassed the proxy");
    proxy.start_again().unwrap();
    for (from, to) in ways {
        let mut stream = open(&topology, from, to);
        stream.write_all(super::teller::QUESTION).unwrap();
        assert!(!ends_by_reset(&mut stream), "{to}");
    }
    assert_eq!(proxy.settle().unwrap().len(), ways.len());
}

#[test]
fn a_route_that_leads_into_the_proxy_itself_ends_with_an_error() {
    let topology = captured();
    for port in [15001, 15006] {
        let document = format!(
            r#"{{"version": 1,
            "services": [{{"name": "shop/web", "addresses": ["10.96.0.10", "fd96::10"], "ports": [{{"port": 80,
                "protocol": "HTTP", "routes": [{{"name": "all", "backends": [{{"cluster": "loop", "weight": 1}}]}}]}}]}}],
            "clusters": {{"loop": {{"endpoints": [{{"addresses": ["10.77.0.2", "fd77::2"], "port": {port}}}]}}}}}}"#
        );
        let mut proxy = Proxy::start(&topology.pod, &document).unwrap();
        for url in ["http://10.96.0.10/", "http://[fd96::10]/"] {
            assert_eq!(get(&topology, At::Pod, "--http1.1", url), "503", "{port}");
        }
        let log = proxy.settle().unwrap();
        assert_eq!(log.len(), 2, "two requests, and none of their tries came back as another: {log:?}");
        let tries = proxy.metric("outrigger_opaque_connections_closed_total", &["response_flag=\"LOOP\""]).unwrap();
        assert!((2..=40).contains(&tries), "{tries} tries for two requests");
        proxy.assert_well().unwrap();
    }
}
