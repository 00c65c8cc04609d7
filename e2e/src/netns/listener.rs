//! A listener that says to whoever connects where it stands and what the connection's original destination was. It
//! takes the place of an application, a peer, or the proxy's two ports.

use super::Namespace;
use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

/// Whose namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Pod,
    Peer,
}

/// Where a connection arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub place: Place,
    /// The address on which it was accepted.
    pub local: SocketAddr,
    /// `SO_ORIGINAL_DST`: where it was sent.
    pub original: SocketAddr,
}

impl Arrival {
    fn write(&self) -> String {
        let place = if self.place == Place::Pod { "pod" } else { "peer" };
        format!("{place} {} {}", self.local, self.original)
    }

    pub(super) fn read(text: &str) -> Result<Self> {
        let mut words = text.split(' ');
        let mut next = || words.next().with_context(|| format!("'{text}' is not from one of our listeners"));
        let place = if next()? == "pod" { Place::Pod } else { Place::Peer };
        Ok(Arrival { place, local: next()?.parse()?, original: next()?.parse()? })
    }
}

/// Listens on both families until it is dropped.
pub struct Listener {
    socket: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub fn start(namespace: &Namespace, place: Place, port: u16) -> Result<Self> {
        let socket = namespace.run(|| listen(port))?.with_context(|| format!("can't listen on port {port}"))?;
        let accepting = socket.try_clone()?;
        // a socket stays in the namespace in which it was made
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                // the client reads what is missing as an error
                let _ = answer(stream, place);
            }
        });
        Ok(Listener { socket, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // wakes `accept` with an error
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(16)?;
    Ok(socket.into())
}

fn answer(mut stream: TcpStream, place: Place) -> std::io::Result<()> {
    let local = plain(stream.local_addr()?);
    let socket = SockRef::from(&stream);
    let original = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    // without any NAT rule in the namespace the kernel knows no original destination
    let original = original.ok().and_then(|address| address.as_socket()).map_or(local, plain);
    stream.write_all(Arrival { place, local, original }.write().as_bytes())
}

/// An IPv4 address as such, where a socket of both families maps it.
fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => SocketAddr::new(v6.to_canonical(), address.port()),
    }
}
