use super::*;
use crate::testing::{To, call as ask_page};
use mesh_runtime::{admin, readiness::Readiness, signals::Shutdown};
use proxy_core::app::{App, Config, Running};
use proxy_core::snapshot::{Defaults, Snapshot};
use proxy_core::telemetry::Telemetry;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

struct Bench {
    drain: Drain,
    readiness: Readiness,
    running: Running,
    outbound: SocketAddr,
    admin: SocketAddr,
}

/// A data plane whose every connection goes to `destination`, and its admin port.
fn bench(destination: SocketAddr, limit: Duration) -> Bench {
    let app = App::bind(Config {
        outbound: vec!["127.0.0.1:0".parse().unwrap()],
        inbound: vec![],
        workers: 1,
        original_dst: Arc::new(To(destination)),
        telemetry: Telemetry::new(),
    })
    .unwrap();
    let (outbound, handle) = (app.addresses().outbound[0], app.handle());
    let valid = mesh_config::proxy::Valid::from_bytes(b"{\"version\": 1}").unwrap();
    let defaults = Defaults { detect_timeout: Duration::ZERO, access_log: Default::default() };
    handle.update(Arc::new(Snapshot::new(&valid, "", 1, &[].into(), &[], &defaults).unwrap()));
    let readiness = Readiness::new();
    let drain = Drain::new(handle, readiness.gate("drain"), limit);
    let listeners = admin::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let admin = listeners[0].local_addr().unwrap();
    tokio::spawn(admin::serve(listeners, drain.routes(), Shutdown::new()));
    Bench { drain, readiness, running: app.run().unwrap(), outbound, admin }
}

const NOBODY: &str = "127.0.0.1:1";

#[tokio::test]
async fn the_hook_starts_it_and_returns_and_doing_it_again_changes_nothing() {
    let bench = bench(NOBODY.parse().unwrap(), Duration::from_secs(5));
    assert!(bench.readiness.is_ready());
    assert!(ask_page(bench.admin, "GET", "/drain").await.1.contains("\"phase\":\"serving\""));
    let admin = bench.admin;
    for _ in 0..2 {
        // the first address answers nothing, as [::1] does where there is no IPv6
        let asked = tokio::task::spawn_blocking(move || ask_at(&[NOBODY.parse().unwrap(), admin], false));
        asked.await.unwrap().unwrap();
    }
    assert!(!bench.readiness.is_ready());
    assert!(ask_page(bench.admin, "GET", "/drain").await.1.contains("\"phase\":\"draining\""));
    bench.drain.finish().await;
    bench.running.ended().await;
}

#[tokio::test]
async fn the_hook_of_an_ordinary_container_waits_while_something_is_in_flight() {
    let limit = Duration::from_millis(500);
    let bench = bench(NOBODY.parse().unwrap(), limit);
    let (admin, began) = (bench.admin, Instant::now());
    tokio::task::spawn_blocking(move || ask_at(&[admin], true)).await.unwrap().unwrap();
    assert!(began.elapsed() >= limit, "as long as applications may need, or the drain duration");
    bench.drain.finish().await;
    bench.running.ended().await;
}

#[test]
fn without_a_proxy_the_hook_says_so() {
    let error = format!("{:#}", ask_at(&[NOBODY.parse().unwrap()], false).unwrap_err());
    assert!(error.starts_with("no proxy can be told to drain: connecting to 127.0.0.1:1: "), "{error}");
}

#[tokio::test]
async fn what_is_in_flight_is_finished_and_what_comes_meanwhile_is_taken() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bench = bench(server.local_addr().unwrap(), Duration::from_secs(30));
    let mut open = tokio::net::TcpStream::connect(bench.outbound).await.unwrap();
    open.write_all(b"\x00one").await.unwrap();
    let (mut served, _) = server.accept().await.unwrap();
    let mut bytes = [0; 4];
    served.read_exact(&mut bytes).await.unwrap();

    let drain = bench.drain.clone();
    let finished = tokio::spawn(async move { drain.finish().await });
    // still taken, while the other one is open
    let mut late = tokio::net::TcpStream::connect(bench.outbound).await.unwrap();
    late.write_all(b"\x00two").await.unwrap();
    let (mut late_served, _) = server.accept().await.unwrap();
    late_served.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes[1..], b"two");
    assert!(!finished.is_finished());

    drop((late, late_served));
    served.write_all(b"last words").await.unwrap();
    drop(served);
    let mut answer = Vec::new();
    open.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"last words");
    drop(open);
    finished.await.unwrap();
    bench.running.ended().await;
}

#[tokio::test]
async fn what_never_ends_is_cut_off_after_the_drain_duration() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bench = bench(server.local_addr().unwrap(), Duration::from_millis(200));
    let mut open = tokio::net::TcpStream::connect(bench.outbound).await.unwrap();
    open.write_all(b"\x00").await.unwrap();
    let (_served, _) = server.accept().await.unwrap();
    bench.drain.finish().await;
    bench.running.ended().await;
}
