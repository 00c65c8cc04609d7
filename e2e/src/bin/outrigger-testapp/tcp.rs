//! Opaque TCP: an echo that half-closes, a server that speaks first, and a client for both.

use anyhow::{Context, Result};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Sends back what comes; its end follows the client's.
pub async fn echo(address: SocketAddr) -> Result<()> {
    serve(address, |mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}

/// Says hello before it reads anything, then answers each line.
pub async fn greet(address: SocketAddr) -> Result<()> {
    serve(address, |mut stream| async move {
        if stream.write_all(b"220 hello\r\n").await.is_err() {
            return;
        }
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        let _ = stream.write_all(format!("250 heard {} bytes\r\n", heard.len()).as_bytes()).await;
    })
    .await
}

async fn serve<F: Future<Output = ()> + 'static>(address: SocketAddr, each: impl Fn(TcpStream) -> F) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    println!("listens on {}", listener.local_addr()?);
    let mut terminated = std::pin::pin!(super::terminated());
    loop {
        tokio::select! {
            _ = &mut terminated => return Ok(()),
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                tokio::task::spawn_local(each(stream));
            },
        }
    }
}

/// Sends the text, half-closes, prints all that comes back.
pub async fn talk(address: &str, text: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.context("the connection broke off")?;
    println!("{}", String::from_utf8_lossy(&heard));
    Ok(())
}
