//! To the application, as the kubelet's connection would have come.

use super::{Failure, Pod};
use mesh_config::names;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

/// Connects to `host`, or to the Pod itself.
pub(super) async fn connect(pod: &Pod, host: Option<&str>, port: u16) -> Result<TcpStream, Failure> {
    let address = match host.filter(|host| !host.is_empty()) {
        None => SocketAddr::new(pod.address, port),
        Some(host) => {
            let resolve = |source| Failure::Resolve { host: host.to_owned(), source };
            let mut found = lookup_host((host, port)).await.map_err(resolve)?;
            found.next().ok_or_else(|| resolve(io::ErrorKind::NotFound.into()))?
        }
    };
    let connected = match pod.own.contains(&address.ip()) {
        true => passing_capture(address).await,
        false => TcpStream::connect(address).await,
    };
    let stream = connected.map_err(|source| Failure::Connect { address, source })?;
    // a probe is one small write
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// From the pass-through source, which the capture rules leave alone. Where it can't be bound (`::6` is put on `lo` by the
/// init container, which may not have run), an ordinary connection may pass too.
async fn passing_capture(address: SocketAddr) -> io::Result<TcpStream> {
    let (socket, source): (TcpSocket, IpAddr) = match address {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, names::PASSTHROUGH_V4.into()),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, names::PASSTHROUGH_V6.into()),
    };
    match socket.bind(SocketAddr::new(source, 0)) {
        Ok(()) => socket.connect(address).await,
        Err(_) => TcpStream::connect(address).await,
    }
}
