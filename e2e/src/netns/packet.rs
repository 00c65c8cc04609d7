//! A connection attempt: who opens it and where to; sent for real, it says where it arrived.

use super::evaluator::Verdict;
use super::listener::{Arrival, Listener, Place};
use super::{Namespace, Topology};
use anyhow::{Context, Result, bail, ensure};
use mesh_config::names::{PORT_INBOUND, PORT_OUTBOUND};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Everything here is one machine.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub origin: Origin,
    pub to: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A program in the Pod; `source` if it binds one.
    Pod { uid: u32, gid: u32, source: Option<IpAddr> },
    /// From outside.
    Peer { source: IpAddr },
}

impl Packet {
    /// By an ordinary program of the Pod.
    pub fn from_app(to: &str) -> Self {
        Self::from_user(1000, 1000, to)
    }

    /// By the proxy.
    pub fn from_proxy(to: &str) -> Self {
        Self::from_user(1337, 1337, to)
    }

    pub fn from_user(uid: u32, gid: u32, to: &str) -> Self {
        Packet { origin: Origin::Pod { uid, gid, source: None }, to: parse(to) }
    }

    /// By the proxy, bound to an address.
    pub fn from_proxy_at(source: &str, to: &str) -> Self {
        Packet { origin: Origin::Pod { uid: 1337, gid: 1337, source: Some(parse(source)) }, to: parse(to) }
    }

    pub fn from_peer(source: &str, to: &str) -> Self {
        Packet { origin: Origin::Peer { source: parse(source) }, to: parse(to) }
    }

    /// Sends it while the proxy's two ports are held by `proxy`, with a listener at its own destination, and reads from
    /// the answer which way it took.
    pub fn send(&self, topology: &Topology, proxy: &StandIn<'_>) -> Result<Verdict> {
        let (from, uid, gid, source) = match self.origin {
            Origin::Pod { uid, gid, source } => (&topology.pod, uid, gid, source),
            Origin::Peer { source } => (&topology.peer, 0, 0, Some(source)),
        };
        let stays = matches!(Topology::seen(self), super::Seen::Leaving { interface: "lo", .. });
        let ends_in_pod = stays || matches!(self.origin, Origin::Peer { .. });
        let taken = ends_in_pod && [PORT_OUTBOUND, PORT_INBOUND].contains(&self.to.port());
        let (namespace, place) = if ends_in_pod { (proxy.pod, Place::Pod) } else { (&topology.peer, Place::Peer) };
        let _destination = if taken { None } else { Some(Listener::start(namespace, place, self.to.port())?) };
        let arrival = from.run(|| connect(uid, gid, source, self.to))??;
        self.verdict(&arrival, if ends_in_pod { Place::Pod } else { Place::Peer })
    }

    fn verdict(&self, arrival: &Arrival, destination: Place) -> Result<Verdict> {
        ensure!(arrival.original == self.to, "{self:?} arrived with another original destination: {arrival:?}");
        if arrival.local == self.to {
            ensure!(arrival.place == destination, "{self:?} arrived at the wrong place: {arrival:?}");
            return Ok(Verdict::Left);
        }
        ensure!(arrival.place == Place::Pod, "{self:?} was changed on its way to {arrival:?}");
        match arrival.local.port() {
            PORT_OUTBOUND => Ok(Verdict::ToOutbound),
            PORT_INBOUND => Ok(Verdict::ToInbound),
            _ => bail!("{self:?} was redirected to where nobody redirects: {arrival:?}"),
        }
    }
}

/// Holds the proxy's two ports in the Pod.
pub struct StandIn<'a> {
    pod: &'a Namespace,
    _listeners: [Listener; 2],
}

impl<'a> StandIn<'a> {
    pub fn start(pod: &'a Namespace) -> Result<Self> {
        let start = |port| Listener::start(pod, Place::Pod, port);
        Ok(StandIn { pod, _listeners: [start(PORT_OUTBOUND)?, start(PORT_INBOUND)?] })
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("'{text}': {error:?}"))
}

/// On a thread that ends afterwards: it gives up being root.
fn connect(uid: u32, gid: u32, source: Option<IpAddr>, to: SocketAddr) -> Result<Arrival> {
    become_user(uid, gid)?;
    let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into()).with_context(|| format!("bind {source}"))?;
    }
    socket.connect_timeout(&to.into(), PATIENCE).with_context(|| format!("connect to {to} as {uid}:{gid}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    let mut socket = socket;
    socket.read_to_string(&mut text).with_context(|| format!("read from {to}"))?;
    Arrival::read(&text)
}

/// This thread alone: the C library would change all threads of the process.
pub(super) fn become_user(uid: u32, gid: u32) -> Result<()> {
    let none: *const libc::gid_t = std::ptr::null();
    // SAFETY: an empty list of groups is read from nowhere; the others take no pointers
    let done = unsafe {
        libc::syscall(libc::SYS_setgroups, 0, none) == 0
            && libc::syscall(libc::SYS_setresgid, gid, gid, gid) == 0
            && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
    };
    ensure!(done, "can't become {uid}:{gid}: {}", std::io::Error::last_os_error());
    Ok(())
}
