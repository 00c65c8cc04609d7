//! Which connections the proxy gets: the packets of `netns_capture`, judged by the same evaluator. Which way each took is
//! read from the proxy's access log, where a connection is found by the number of bytes that it alone has sent, and from
//! whom its destination saw. (Not by its port: where another connection's remains hold that, NAT gives it a new one.)

use super::clients::{CANNOT_CONNECT, curl};
use super::teller::{QUESTION, Teller};
use super::{At, NOTHING, captured, server};
use anyhow::{Context, Result, bail, ensure};
use e2e::netns::program::connect;
use e2e::netns::topology::{POD, POD_ETH1};
use e2e::netns::{Families, Init, Origin, Packet, Proxy, Seen, Topology, Verdict, evaluate};
use mesh_config::Capture;
use mesh_config::names::{OWN_PORTS, PORT_HEALTH, PORT_METRICS};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

#[path = "../netns_capture/inbound.rs"]
mod inbound;
#[path = "../netns_capture/outbound.rs"]
mod outbound;
#[path = "../netns_capture/random.rs"]
mod random;

/// Sends every packet, and compares three verdicts: the test's, the design's, and what the proxy says.
fn check(capture: &Capture, rows: &[(Packet, Verdict)]) {
    check_in(&Topology::new().unwrap(), capture, rows);
}

fn check_in(topology: &Topology, capture: &Capture, rows: &[(Packet, Verdict)]) {
    Init::find().unwrap().apply(&topology.pod, capture).unwrap();
    let mut proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    let destinations = destinations(topology, rows);
    let sent: Vec<_> =
        rows.iter().enumerate().map(|(number, (packet, _))| Sent::new(topology, packet, number)).collect();
    let log = proxy.settle().unwrap();
    let mut wrong = Vec::new();
    let mut found = 0;
    for ((packet, expected), sent) in rows.iter().zip(sent) {
        let design = evaluate(capture, Topology::seen(packet));
        let real = sent.and_then(|sent| sent.verdict(&log));
        found += usize::from(matches!(real, Ok(Verdict::ToInbound | Verdict::ToOutbound)));
        if design != *expected || real.as_ref().ok() != Some(expected) {
            wrong.push(format!("{packet:?}: expected {expected:?}, by the design {design:?}, really {real:?}"));
        }
    }
    assert!(wrong.is_empty(), "{capture:?}\n{}\nlogged: {log:#?}\n{}", wrong.join("\n"), proxy.log().join("\n"));
    assert_eq!(found, log.len(), "the log has connections that nobody has opened: {log:?}");
    let accepted: usize = destinations.values().map(Teller::accepted).sum();
    let to_own_ports = rows.iter().filter(|(packet, _)| is_own(packet)).count();
    assert_eq!(accepted, rows.len() - to_own_ports, "a connection reaches its destination once");
    proxy.assert_well().unwrap();
}

fn ipv4_only() -> Topology {
    Topology::with(Families::Ipv4Only).unwrap()
}

fn place(packet: &Packet) -> At {
    let stays = matches!(Topology::seen(packet), Seen::Leaving { interface: "lo", .. });
    if stays || matches!(packet.origin, Origin::Peer { .. }) { At::Pod } else { At::Peer }
}

/// To the proxy itself.
fn is_own(packet: &Packet) -> bool {
    place(packet) == At::Pod && OWN_PORTS.contains(&packet.to.port())
}

fn destinations(topology: &Topology, rows: &[(Packet, Verdict)]) -> BTreeMap<(bool, u16), Teller> {
    let mut tellers = BTreeMap::new();
    for (packet, _) in rows.iter().filter(|(packet, _)| !is_own(packet)) {
        let in_pod = place(packet) == At::Pod;
        let namespace = if in_pod { &topology.pod } else { &topology.peer };
        let port = packet.to.port();
        tellers.entry((in_pod, port)).or_insert_with(|| Teller::start(namespace, port));
    }
    tellers
}

/// A connection that has been made and has ended.
struct Sent {
    to: SocketAddr,
    /// `None`: it went to a port of the proxy's, which refuses it or answers something else.
    told: Option<Told>,
}

struct Told {
    /// The client's own address.
    client: SocketAddr,
    /// How many bytes it has sent: no other in the table has sent so many.
    asked: usize,
    /// Whom the destination saw.
    seen: SocketAddr,
}

impl Sent {
    fn new(topology: &Topology, packet: &Packet, number: usize) -> Result<Sent> {
        let question = [&vec![b'.'; number], QUESTION].concat();
        let (from, uid, gid, source) = match packet.origin {
            Origin::Pod { uid, gid, source } => (&topology.pod, uid, gid, source),
            Origin::Peer { source } => (&topology.peer, 0, 0, Some(source)),
        };
        let to = packet.to;
        let opened = connect(from, uid, gid, source, to);
        if is_own(packet) {
            if let Ok(stream) = opened {
                // a reset, or an answer to a bad request: what matters is that it ends, unlogged
                let _ = ask(stream, &question);
            }
            return Ok(Sent { to, told: None });
        }
        let stream = opened.with_context(|| format!("connect to {to} as {uid}:{gid}"))?;
        let client = stream.local_addr()?;
        let seen = ask(stream, &question).with_context(|| format!("ask {to} as {uid}:{gid}"))?;
        let seen = seen.parse().with_context(|| format!("'{seen}' is no answer of ours"))?;
        Ok(Sent { to, told: Some(Told { client, asked: question.len(), seen }) })
    }

    fn verdict(&self, log: &[Value]) -> Result<Verdict> {
        let Some(Told { client, asked, seen }) = &self.told else {
            let to = self.to.to_string();
            ensure!(log.iter().all(|line| line["destination"] != to), "a port of the proxy's own was passed on");
            return Ok(Verdict::Left);
        };
        let to = self.to.to_string();
        let own = |line: &&Value| line["bytes_received"] == *asked && line["destination"] == to;
        let lines: Vec<&Value> = log.iter().filter(own).collect();
        let from = |line: &Value| line["source"].as_str().and_then(|text| text.parse::<SocketAddr>().ok());
        ensure!(lines.iter().all(|line| from(line).is_some_and(|from| from.ip() == client.ip())), "{lines:?}");
        match lines.as_slice() {
            [] => {
                ensure!(seen == client, "left alone, but its destination saw {seen}");
                Ok(Verdict::Left)
            }
            [line] if line["direction"] == "inbound" => {
                ensure!(is_pass_through(seen.ip()), "inbound, but its destination saw {seen}");
                Ok(Verdict::ToInbound)
            }
            [line] if line["direction"] == "outbound" => {
                let pods = [POD, POD_ETH1].concat().iter().any(|own| own.parse() == Ok(seen.ip()));
                ensure!(pods && seen != client, "outbound, but its destination saw {seen}");
                Ok(Verdict::ToOutbound)
            }
            lines => bail!("logged {} times: {lines:?}", lines.len()),
        }
    }
}

fn is_pass_through(ip: IpAddr) -> bool {
    ["127.0.0.6", "::6"].iter().any(|one| one.parse() == Ok(ip))
}

fn ask(mut stream: TcpStream, question: &[u8]) -> Result<String> {
    stream.write_all(question)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn health_and_metrics_answer_callers_directly_and_the_admin_port_answers_nobody_outside() {
    let topology = captured();
    let proxy = Proxy::start(&topology.pod, NOTHING).unwrap();
    for host in ["10.77.0.2", "[fd77::2]"] {
        for (port, path) in [(PORT_HEALTH, "healthz/ready"), (PORT_METRICS, "metrics")] {
            let curl = curl(&topology, At::Peer, &["-f", &format!("http://{host}:{port}/{path}")]);
            assert_eq!(curl.code, 0, "{curl:?}");
        }
        let curl = curl(&topology, At::Peer, &[&format!("http://{host}:15000/config_dump")]);
        assert_eq!(curl.code, CANNOT_CONNECT, "{curl:?}");
    }
    assert_eq!(proxy.settle().unwrap(), [] as [Value; 0]);
}

#[test]
fn a_call_to_a_service_that_leads_back_to_the_pod_passes_the_proxy_out_and_in() {
    let document = r#"{"version": 1,
        "services": [{"name": "shop/web", "addresses": ["10.96.0.10", "fd96::10"],
            "ports": [{"port": 80, "protocol": "HTTP", "routes": [{"name": "all", "backends": [{"cluster": "web", "weight": 1}]}]}]}],
        "clusters": {"web": {"endpoints": [{"addresses": ["10.77.0.2", "fd77::2"], "port": 8080}]}}}"#;
    let topology = captured();
    let mut proxy = Proxy::start(&topology.pod, document).unwrap();
    let _web = server(&topology, At::Pod, &["serve", "[::]:8080", "web"]);
    for (service, own) in [("10.96.0.10:80", "10.77.0.2:8080"), ("[fd96::10]:80", "[fd77::2]:8080")] {
        let before = proxy.access_log().unwrap().len();
        let curl = curl(&topology, At::Pod, &["-f", &format!("http://{service}/")]);
        assert_eq!(curl.code, 0, "{curl:?}");
        // between the two ways through the proxy a connection is kept, so nothing settles
        let log = proxy.await_log(before + 2).unwrap();
        let line = |direction: &str, key: &str| {
            let found = log[before..].iter().find(|line| line["direction"] == direction);
            found.map_or(Value::Null, |line| line[key].clone())
        };
        assert_eq!(line("outbound", "destination"), service, "{log:?}");
        assert_eq!(line("outbound", "upstream"), own, "{log:?}");
        assert_eq!(line("inbound", "destination"), own, "{log:?}");
    }
    proxy.assert_well().unwrap();
}
