//! Opens connections to destinations. Neither pooled nor tried again here.

use crate::{error::Error, listen};
use mesh_config::names;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::{io, time::Duration};
use tokio::net::{TcpSocket, TcpStream};

/// Within a cluster an answer takes milliseconds; this leaves time for nothing to be lost but once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The address to connect from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// As the routing table says.
    Any,
    /// 127.0.0.6 or ::6: by it the redirection rules know that the connection goes to the Pod's own application.
    Passthrough,
}

pub async fn connect(address: SocketAddr, source: Source) -> Result<TcpStream, Error> {
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, open(address, source)).await {
        Ok(opened) => opened.map_err(|error| classify(&error))?,
        Err(_) => return Err(Error::ConnectTimeout),
    };
    listen::tune(&stream);
    Ok(stream)
}

async fn open(address: SocketAddr, source: Source) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if source == Source::Passthrough {
        bind_passthrough(&socket, address);
    }
    TcpSocket::from_std_stream(socket.into()).connect(address).await
}

/// Without the address the connection still works wherever nothing is redirected, so that is worth one line, no refusal.
fn bind_passthrough(socket: &Socket, to: SocketAddr) {
    let from = match to {
        SocketAddr::V4(_) => IpAddr::V4(names::PASSTHROUGH_V4),
        SocketAddr::V6(_) => IpAddr::V6(names::PASSTHROUGH_V6),
    };
    choose_port_late(socket);
    if let Err(error) = socket.bind(&SocketAddr::new(from, 0).into()) {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            tracing::warn!(%from, %error, "cannot connect to the application from this address, which outrigger-init puts on `lo`; \
                using another: where inbound connections are redirected they will come back to this proxy and be refused");
        });
    }
}

/// The port is chosen at `connect`, when the destination is known: else all connections from this address would share the
/// ports of one, and one in TIME_WAIT would block its port for every destination.
fn choose_port_late(socket: &Socket) {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("4");
    // SAFETY: the socket is open, and the option's value is a c_int that outlives the call. The result may be ignored:
    // without the option (Linux < 4.2) only fewer connections are possible.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            length,
        );
    }
}

fn classify(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectRefused,
        io::ErrorKind::TimedOut => Error::ConnectTimeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Error::ConnectReset,
        _ => Error::ConnectFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_passthrough_connection_comes_from_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _stream = connect(address, Source::Passthrough).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), IpAddr::V4(names::PASSTHROUGH_V4));
    }

    #[tokio::test]
    async fn an_address_that_is_missing_is_done_without() {
        let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
        connect(listener.local_addr().unwrap(), Source::Passthrough).await.unwrap();
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(connect(address, Source::Any).await.unwrap_err(), Error::ConnectRefused);
    }
}
