//! The real `outrigger-proxy` in a Pod's namespace, as an injected Pod runs it: user and group 1337, without any
//! capability, its document in a directory that is watched, its access log on.
//!
//! What it did is asked of itself: its access log (standard output), its metrics (15020) and its admin port.

use super::Namespace;
use super::init::find_binary;
use super::program::{PATIENCE, Program, binary, until};
use anyhow::{Context, Result, ensure};
use mesh_config::names::{PORT_ADMIN, PORT_HEALTH, PORT_METRICS, PROXY_GID, PROXY_UID};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// It is killed when this is dropped.
pub struct Proxy<'a> {
    pod: &'a Namespace,
    program: Program,
    file: PathBuf,
    directory: Directory,
}

/// It goes with its value.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl<'a> Proxy<'a> {
    /// With this document in force.
    pub fn start(pod: &'a Namespace, document: &str) -> Result<Self> {
        let mut proxy = Self::start_without_document(pod)?;
        proxy.replace_document(document)?;
        proxy.await_ready()?;
        Ok(proxy)
    }

    /// It listens, and has no document.
    pub fn start_without_document(pod: &'a Namespace) -> Result<Self> {
        static DIRECTORIES: AtomicU32 = AtomicU32::new(0);
        let name = format!("outrigger-proxy-{}-{}", std::process::id(), DIRECTORIES.fetch_add(1, Ordering::Relaxed));
        let directory = Directory(std::env::temp_dir().join(name));
        std::fs::create_dir(&directory.0).with_context(|| directory.0.display().to_string())?;
        let file = directory.0.join("proxy.json");
        let mut proxy = Proxy { pod, program: spawn(pod, &file)?, file, directory };
        proxy.await_page("a proxy that listens", PORT_HEALTH, "/healthz", |status, _| status == 200)?;
        Ok(proxy)
    }

    /// The same again, in place of the one that runs or was killed.
    pub fn start_again(&mut self) -> Result<()> {
        self.program.kill()?;
        self.program = spawn(self.pod, &self.file)?;
        self.await_ready()
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.program.kill()
    }

    /// Replaces the file in one step, as people and the kubelet do.
    pub fn replace_document(&self, document: &str) -> Result<()> {
        let new = self.directory.0.join("new");
        std::fs::write(&new, document)?;
        std::fs::rename(&new, &self.file)?;
        Ok(())
    }

    /// Replaces it and waits until it is in force.
    pub fn reload(&mut self, document: &str) -> Result<()> {
        let before = self.metric("outrigger_config_generation", &[])?;
        self.replace_document(document)?;
        until("the new document in force", || {
            Ok((self.metric("outrigger_config_generation", &[])? > before).then_some(()))
        })
    }

    fn await_ready(&mut self) -> Result<()> {
        self.await_page("a proxy that is ready", PORT_HEALTH, "/healthz/ready", |status, _| status == 200)
    }

    fn await_page(&mut self, what: &str, port: u16, path: &str, good: impl Fn(u16, &str) -> bool) -> Result<()> {
        until(what, || {
            ensure!(self.program.is_running()?, "outrigger-proxy ended: {}", self.program.stderr().join("\n"));
            let (status, page) = self.page(port, path)?;
            ensure!(good(status, &page), "{status} {page}{}", self.program.stderr().join("\n"));
            Ok(Some(()))
        })
    }

    /// That it runs, is ready, and hasn't panicked anywhere.
    pub fn assert_well(&mut self) -> Result<()> {
        ensure!(self.program.is_running()?, "outrigger-proxy ended: {}", self.log().join("\n"));
        let (status, page) = self.page(PORT_HEALTH, "/healthz/ready")?;
        ensure!(status == 200, "not ready: {page}");
        let panics = self.metric("outrigger_panics_total", &[])?;
        ensure!(panics == 0, "{panics} panics: {}", self.log().join("\n"));
        Ok(())
    }

    /// A page of one of its own ports on 127.0.0.1: status and body.
    pub fn page(&self, port: u16, path: &str) -> Result<(u16, String)> {
        let mut answer = Vec::new();
        self.pod.run(|| -> std::io::Result<()> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            stream.read_to_end(&mut answer)?;
            Ok(())
        })??;
        let answer = String::from_utf8(answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, body.to_owned()))
    }

    /// Its `/config_dump`.
    pub fn config_dump(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.page(PORT_ADMIN, "/config_dump")?.1)?)
    }

    /// The sum of a metric over all label sets that have these (`direction="inbound"`).
    pub fn metric(&self, name: &str, labels: &[&str]) -> Result<u64> {
        let (status, page) = self.page(PORT_METRICS, "/metrics")?;
        ensure!(status == 200 && page.ends_with("# EOF\n"), "not a page of metrics: {page}");
        let mut sum = 0;
        for line in page.lines() {
            let Some((id, value)) = line.rsplit_once(' ') else { continue };
            let (found, set) = id.split_once('{').unwrap_or((id, ""));
            if found == name && labels.iter().all(|label| set.contains(label)) {
                sum += value.parse::<u64>().with_context(|| line.to_owned())?;
            }
        }
        Ok(sum)
    }

    /// What it logs of itself.
    pub fn log(&self) -> Vec<String> {
        self.program.stderr()
    }

    /// The access log so far.
    pub fn access_log(&self) -> Result<Vec<Value>> {
        let lines = self.program.stdout();
        lines.iter().map(|line| serde_json::from_str(line).with_context(|| line.clone())).collect()
    }

    /// The access log, once it has at least so many lines.
    pub fn await_log(&self, lines: usize) -> Result<Vec<Value>> {
        until("enough lines in the access log", || {
            let log = self.access_log()?;
            ensure!(log.len() >= lines, "only {log:?}");
            Ok(Some(log))
        })
    }

    /// Waits until everything that was begun has ended and stands in the access log, and gives the log. What was refused
    /// by the loop guard is counted and not logged.
    pub fn settle(&self) -> Result<Vec<Value>> {
        until("as many lines in the access log as connections and requests have ended", || {
            let open = self.metric("outrigger_connections_active", &[])?;
            let closed = self.metric("outrigger_opaque_connections_closed_total", &[])?;
            let refused = self.metric("outrigger_opaque_connections_closed_total", &["response_flag=\"LOOP\""])?;
            let ended = closed - refused + self.metric("outrigger_requests_total", &[])?;
            let log = self.access_log()?;
            ensure!(open == 0, "{open} connections are open");
            ensure!(log.len() as u64 == ended, "{ended} have ended, logged are {log:?}");
            Ok(Some(log))
        })
    }
}

fn spawn(pod: &Namespace, file: &Path) -> Result<Program> {
    let path = find_binary("outrigger-proxy", "outrigger-proxy")?;
    let mut command = binary(pod, PROXY_UID, PROXY_GID, &path)?;
    command.arg("--config").arg(file).env_clear().env("OUTRIGGER_ACCESS_LOG", "JSON").current_dir("/");
    Program::start(&mut command)
}
