//! How the proxy leaves.
//!
//! The kubelet runs every container's preStop hook at once. For a native sidecar it sends the SIGTERM only after all
//! application containers have exited, so the hook (`outrigger-proxy drain`) returns at once: the proxy sends its callers
//! away (`Connection: close`, GOAWAY), is no longer ready, and goes on accepting for as long as the applications live.
//! An ordinary container gets its SIGTERM as soon as its hook returns, while the applications may still be at work:
//! there the hook is `outrigger-proxy drain --wait`.
//!
//! After SIGTERM: whatever is in flight is finished, while new connections are still taken; then the proxy stops. All of
//! it in the drain duration at most. (Kubernetes' grace period counts from the beginning of the hooks, and ends in
//! SIGKILL: `drain-duration` has to be shorter.)

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Response, StatusCode};
use mesh_config::names;
use mesh_runtime::admin::{Table, json, text};
use mesh_runtime::readiness::Gate;
use proxy_core::app::Handle;
use proxy_core::drain::Phase;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing in flight for so long means that nothing more is coming. Applications that still live may pause for longer,
/// but when SIGTERM comes there are none (see above).
const QUIET: Duration = Duration::from_millis(300);

/// How often to look whether anything is in flight.
const LOOK: Duration = Duration::from_millis(25);

/// `drain --wait` returns after so long at the earliest: an application that was told to stop finishes its work in
/// bursts. (Istio's MINIMUM_DRAIN_DURATION has the same default.)
const SHORTEST_WAIT: Duration = Duration::from_secs(5);

/// The running proxy's side of it. Clones are the same.
#[derive(Clone, Debug)]
pub struct Drain {
    handle: Handle,
    ready: Gate,
    limit: Duration,
}

impl Drain {
    /// `ready` closes when it begins; `limit` is the drain duration.
    pub fn new(handle: Handle, ready: Gate, limit: Duration) -> Drain {
        ready.open();
        Drain { handle, ready, limit }
    }

    /// Sends callers away; they may still come. Doing it again changes nothing.
    pub fn begin(&self) {
        if self.handle.phase() == Phase::Serving {
            tracing::info!(in_flight = self.handle.in_flight(), "draining");
            self.ready.close("draining");
            self.handle.drain();
        }
    }

    /// Waits until nothing is in flight, then stops the data plane; all of it within the drain duration.
    pub async fn finish(&self) {
        self.begin();
        let end = Instant::now() + self.limit;
        let mut quiet_since = None;
        while Instant::now() < end {
            quiet_since = (self.handle.in_flight() == 0).then(|| quiet_since.unwrap_or_else(Instant::now));
            if quiet_since.is_some_and(|since| since.elapsed() >= QUIET) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let left = end.saturating_duration_since(Instant::now());
        tracing::info!(in_flight = self.handle.in_flight(), "stopping");
        self.handle.stop(left);
    }

    fn page(&self) -> Value {
        let phase = match self.handle.phase() {
            Phase::Serving => "serving",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
        };
        serde_json::json!({
            "phase": phase,
            "inFlight": self.handle.in_flight(),
            "connections": self.handle.connections().iter().sum::<usize>(),
            "limitSeconds": self.limit.as_secs_f64(),
        })
    }

    /// `/drain`: POST begins it, GET tells how far it is.
    pub fn routes(&self) -> Table {
        let (teller, beginner) = (self.clone(), self.clone());
        let page = |drain: &Drain| json(StatusCode::OK, format!("{}\n", drain.page()));
        Table::new()
            .get("/drain", "is it draining, and what is still in flight", move |_| {
                let page: Response<Bytes> = page(&teller);
                async move { page }
            })
            .post("/drain", "send callers away (Connection: close, GOAWAY); still accepting", move |_| {
                beginner.begin();
                let page = text(StatusCode::OK, "draining\n");
                async move { page }
            })
    }
}

/// The subcommand: asks the proxy of this machine.
pub fn ask(wait: bool) -> anyhow::Result<()> {
    ask_at(
        &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].map(|ip: IpAddr| (ip, names::PORT_ADMIN).into()),
        wait,
    )
}

/// At the first of these addresses that answers.
fn ask_at(admin: &[SocketAddr], wait: bool) -> anyhow::Result<()> {
    let mut result = Err(anyhow::anyhow!("there is no admin address"));
    let began = Instant::now();
    for address in admin {
        result = call(*address, "POST", "/drain").map(|_| *address);
        if result.is_ok() {
            break;
        }
    }
    let admin = result.context("no proxy can be told to drain")?;
    if wait { until_quiet(admin, began) } else { Ok(()) }
}

fn until_quiet(admin: SocketAddr, began: Instant) -> anyhow::Result<()> {
    loop {
        let page: Value = serde_json::from_str(&call(admin, "GET", "/drain")?).context("GET /drain")?;
        let limit = page["limitSeconds"].as_f64().and_then(|limit| Duration::try_from_secs_f64(limit).ok());
        let limit = limit.unwrap_or_default();
        let idle = page["inFlight"] == 0;
        if began.elapsed() >= limit || (idle && began.elapsed() >= SHORTEST_WAIT.min(limit)) {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
}

/// One request; the answer's body. A client library would be more code to load into every hook than this is.
fn call(address: SocketAddr, method: &str, path: &str) -> anyhow::Result<String> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let mut stream =
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("reading the answer of {address}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => bail!("{address} answered {:?}", answer.lines().next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
