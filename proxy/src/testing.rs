//! What several modules' tests need.

use crate::settings::{Options, Watched};
use mesh_config::Settings;
use mesh_config::pod::Identity;
use proxy_core::addr::OriginalDst;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A directory of its own, gone with the value.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("outrigger-proxy-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// As editors and the kubelet do: whole or not at all.
    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.0.join("half"), content).unwrap();
        std::fs::rename(self.0.join("half"), self.0.join(name)).unwrap();
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Keeps what is written.
#[derive(Clone, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything was going there.
#[derive(Debug)]
pub struct To(pub SocketAddr);

impl OriginalDst for To {
    fn original_dst(&self, _: &TcpStream, _: SocketAddr) -> io::Result<SocketAddr> {
        Ok(self.0)
    }
}

/// A document in a directory, labels and state where they are given.
pub fn options(directory: &Path, settings: Settings) -> Options {
    Options {
        settings,
        identity: Identity::default(),
        document: Watched { directory: directory.to_owned(), name: "proxy.json".into() },
        labels: None,
        state_dir: None,
        workers: 1,
    }
}

/// The status and the body of an answer.
pub async fn call(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // a peer that resets has said what it had to say
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer but {answer:?}"));
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// An application that answers every connection's first request so, and tells what it was asked, from where.
pub async fn application(
    answer: &'static str,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<(SocketAddr, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, tell) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, peer)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let head = read_head(&mut stream).await;
                let _ = asked.send((peer, head));
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (address, tell)
}

/// Up to the empty line, or the end.
pub async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n")
        && let Ok(byte) = stream.read_u8().await
    {
        head.push(byte);
    }
    String::from_utf8(head).unwrap()
}
