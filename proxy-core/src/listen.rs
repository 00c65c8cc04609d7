//! Listening sockets: bound once, shared by all workers, and what happens between `accept` and the connection's life.
//!
//! Every worker has a duplicate of the one socket in its own reactor. No SO_REUSEPORT: a member of such a group that
//! closes resets what is queued on it, and any process of the same user could join the group.

use crate::{addr, error::Error};
use mesh_config::names;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{io, time::Duration};
use tokio::{net::TcpStream, time::Instant};

/// Connections that the kernel completes while no worker has time; `net.core.somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// Binds, for both families where the address is `::`; on a machine without IPv6 that means every IPv4 address.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match bind_exactly(address) {
        Err(error) if address.ip().is_unspecified() && address.is_ipv6() && lacks_ipv6(&error) => {
            bind_exactly(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()))
        }
        other => other,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    // no such family in the kernel, or (disable_ipv6=1) none of its addresses
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// <asm-generic/errno.h>; the standard library has no `ErrorKind` for it.
const EAFNOSUPPORT: i32 = 97;

fn bind_exactly(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // a proxy that starts again must not wait for the old one's connections in TIME_WAIT
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// How long to wait after an `accept` that failed; `None`: it was about one connection, so not at all.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    pub fn accepted(&mut self) {
        self.failures = 0;
    }

    /// EMFILE, ENFILE, ENOBUFS and ENOMEM stay until something is closed: spinning on them takes the CPU from what could
    /// close something.
    pub fn failed(&mut self, error: &io::Error) -> Option<Duration> {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock) {
            return None;
        }
        self.failures = (self.failures + 1).min(7);
        Some(Duration::from_millis(5 << self.failures))
    }
}

/// Refuses a connection that would come back to this proxy without end: to one of its own ports on its own machine. (A
/// connection that nobody redirected has our listener's port as its destination.) A call to another Pod's port of the
/// same number goes out like any other.
pub fn guard(original: SocketAddr, own_ports: &[u16]) -> Result<(), Error> {
    let own_port = names::OWN_PORTS.contains(&original.port()) || own_ports.contains(&original.port());
    if own_port && addr::is_local(original.ip()) { Err(Error::LoopGuard) } else { Ok(()) }
}

/// Ends a connection by a reset, so that it looks as if nobody had listened.
pub fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

/// What every connection gets, at both sides.
pub fn tune(stream: &TcpStream) {
    // errors mean that the connection is gone already, which its first use will tell
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(300)).with_interval(Duration::from_secs(75));
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive.with_retries(9));
}

/// For a connection that one side has closed: the kernel's connection tracking forgets such a one after 60 s of silence
/// (`nf_conntrack_tcp_timeout_close_wait`), and then what the other side still says is lost.
pub fn tune_half_closed(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(25)).with_interval(Duration::from_secs(25));
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Lets one log line through in a while, of what may happen a thousand times a second.
#[derive(Debug)]
pub struct Seldom {
    since: std::sync::OnceLock<Instant>,
    /// Milliseconds after `since`.
    next: AtomicU64,
    left_out: AtomicU64,
}

impl Seldom {
    const PAUSE: u64 = 10_000;

    pub const fn new() -> Seldom {
        Seldom { since: std::sync::OnceLock::new(), next: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// `Some(how many were left out)` when it is time to speak.
    pub fn now(&self) -> Option<u64> {
        let since = self.since.get_or_init(Instant::now);
        let elapsed = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX / 2);
        let next = self.next.load(Ordering::Relaxed);
        let mine = elapsed >= next
            && self.next.compare_exchange(next, elapsed + Self::PAUSE, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if mine {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dual_stack_listener_takes_both_families() {
        let listener = bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        if TcpListener::bind("[::1]:0").is_ok() {
            std::net::TcpStream::connect(("::1", port)).unwrap();
        }
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_for_both_families() {
        let first = bind("[::]:0".parse().unwrap()).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn accept_backs_off_only_from_what_stays() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.failed(&io::ErrorKind::ConnectionAborted.into()), None);
        let emfile = io::Error::from_raw_os_error(24);
        let waits: Vec<_> = (0..9).filter_map(|_| backoff.failed(&emfile)).map(|wait| wait.as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 640, 640]);
        backoff.accepted();
        assert_eq!(backoff.failed(&emfile), Some(Duration::from_millis(10)));
    }

    #[test]
    fn only_our_own_ports_on_our_own_machine_are_a_loop() {
        for (original, looping) in [
            ("127.0.0.1:15006", true),
            ("[::1]:15001", true),
            ("127.0.0.1:4321", true),
            ("127.0.0.1:8080", false),
            ("192.0.2.7:15006", false),
            ("192.0.2.7:8080", false),
        ] {
            assert_eq!(guard(original.parse().unwrap(), &[4321]).is_err(), looping, "{original}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_seldom_line_comes_once_in_ten_seconds_and_says_what_was_left_out() {
        let line = Seldom::new();
        assert_eq!([line.now(), line.now(), line.now()], [Some(0), None, None]);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!([line.now(), line.now()], [Some(2), None]);
    }
}
