//! Listening and accepting, the same for the admin port and for TLS: both address families, a cap on connections, and
//! a loop that no single connection and no passing lack of descriptors can end.
//!
//! At the cap nothing is accepted: callers wait in the kernel's queue. That is bounded only because every server on
//! top of this loop has its timeouts.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::signals::Shutdown;

/// As the standard library.
const BACKLOG: i32 = 128;

/// Without descriptors or memory, `accept` fails at once, again and again; others have to close something first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A peer that reads nothing more may hold unsent data, and so a connection, for this long.
const STALLED_WRITE: Duration = Duration::from_secs(30);

/// An address that couldn't be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}{hint}")]
pub struct BindError {
    /// Which one.
    pub address: SocketAddr,
    /// Why.
    pub reason: io::Error,
    hint: &'static str,
}

/// Binds every address, to be served on whichever runtime takes them.
///
/// IPv6 sockets take IPv6 only, so a list can name both wildcards with one port. An IPv6 address that fails because the
/// host has no IPv6 is logged and left out, unless nothing is left then.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<StdListener>, BindError> {
    let mut bound = Vec::new();
    let mut without_ipv6 = None;
    for &address in addresses {
        match bind_one(address) {
            Ok(listener) => bound.push(listener),
            Err(reason) if address.is_ipv6() && host_lacks_ipv6(&reason) => {
                tracing::info!(%address, error = %reason, "this host has no IPv6 here; leaving the address out");
                without_ipv6 = Some(BindError { address, reason, hint: "" });
            }
            Err(reason) => {
                let hint = match reason.kind() {
                    io::ErrorKind::AddrInUse => "; `ss -ltnp` shows who has it",
                    io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
                    _ => "",
                };
                return Err(BindError { address, reason, hint });
            }
        }
    }
    match without_ipv6 {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

fn bind_one(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// No IPv6 in the kernel, or switched off by sysctl so that not even lo has an address.
fn host_lacks_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// Accepts from all listeners and runs `each` in a task of its own, until `shutdown`; then waits `drain` for the open
/// ones and drops what is left. Dropping the future drops them at once.
pub(crate) async fn serve<F, Fut>(
    listeners: Vec<StdListener>,
    connections: usize,
    drain: Duration,
    shutdown: &Shutdown,
    each: F,
) -> io::Result<()>
where
    F: Fn(TcpStream, SocketAddr) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(connections));
    let mut loops = JoinSet::new();
    for listener in listeners {
        let listener = TcpListener::from_std(listener)?;
        loops.spawn(accept_loop(listener, Arc::clone(&permits), drain, shutdown.clone(), each.clone()));
    }
    while loops.join_next().await.is_some() {}
    Ok(())
}

async fn accept_loop<F, Fut>(
    listener: TcpListener,
    permits: Arc<Semaphore>,
    drain: Duration,
    shutdown: Shutdown,
    each: F,
) where
    F: Fn(TcpStream, SocketAddr) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.requested() => break,
            // A panic of a connection ends here; the hook has logged it.
            Some(_) = open.join_next() => {}
            accepted = accept(&listener, &permits) => {
                let Some((stream, peer, permit)) = accepted else { break };
                let connection = each(stream, peer);
                open.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
        }
    }
    drop(listener);
    let all_closed = async { while open.join_next().await.is_some() {} };
    if timeout(drain, all_closed).await.is_err() {
        tracing::info!(connections = open.len(), "closing connections that outlasted the drain");
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // `None` only if the semaphore were closed, which nobody does.
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(STALLED_WRITE));
                return Some((stream, peer, permit));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accept failed; pausing");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// accept(2) hands on errors of the connection that it took from the queue: the next call is fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | ConnectionRefused
            | Interrupted
            | TimedOut
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const V4: &str = "127.0.0.1:0";

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn one_port_can_be_named_for_both_wildcards() {
        let any = bind(&addresses(&["0.0.0.0:0"])).unwrap();
        let port = any[0].local_addr().unwrap().port();
        let same = bind(&[SocketAddr::new("::".parse().unwrap(), port)]);
        // On a host without IPv6 the one address fails; it must not fail as taken.
        assert!(same.is_ok_and(|l| l.len() == 1) || std::fs::exists("/proc/net/if_inet6").is_ok_and(|yes| !yes));
    }

    #[test]
    fn an_address_in_use_is_an_error_that_names_it_and_how_to_find_the_holder() {
        let holder = bind(&addresses(&[V4])).unwrap();
        let taken = holder[0].local_addr().unwrap();
        let error = bind(&[taken]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {taken}: ")), "{error}");
        assert!(error.ends_with("; `ss -ltnp` shows who has it"), "{error}");
    }

    #[test]
    fn an_ipv6_address_that_no_interface_has_is_left_out() {
        // The same error as [::1] gives where IPv6 is switched off; 2001:db8::/32 is for documentation only.
        let list = addresses(&[V4, "[2001:db8::1]:0"]);
        assert_eq!(bind(&list).unwrap().len(), 1);
        assert_eq!(bind(&list[1..]).unwrap_err().address, list[1]);
        assert!(bind(&addresses(&["192.0.2.1:0"])).is_err(), "an IPv4 address is never left out");
    }

    #[test]
    fn lack_of_descriptors_pauses_and_a_vanished_caller_does_not() {
        const ECONNABORTED: i32 = 103;
        let [enfile, emfile, enobufs] = [23, 24, 105];
        assert!(concerns_one_connection(&io::Error::from_raw_os_error(ECONNABORTED)));
        for lack in [enfile, emfile, enobufs] {
            assert!(!concerns_one_connection(&io::Error::from_raw_os_error(lack)));
        }
    }

    /// Answers one byte with the same byte, then closes.
    async fn echo_one(mut stream: TcpStream, _peer: SocketAddr) {
        let byte = stream.read_u8().await.unwrap();
        assert_ne!(byte, b'!', "a connection's panic, for the test below");
        stream.write_u8(byte).await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_over_the_cap_waits_for_its_turn() {
        let listeners = bind(&addresses(&[V4])).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let shutdown = Shutdown::new();
        let server = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { serve(listeners, 1, Duration::from_secs(5), &shutdown, echo_one).await }
        });

        let mut first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_u8(b'2').await.unwrap();
        first.write_u8(b'1').await.unwrap();
        assert_eq!(first.read_u8().await.unwrap(), b'1');
        assert_eq!(second.read_u8().await.unwrap(), b'2');

        let mut open = TcpStream::connect(address).await.unwrap();
        open.write_u8(b'!').await.unwrap();
        assert!(open.read_u8().await.is_err(), "its task panicked");
        let mut after = TcpStream::connect(address).await.unwrap();
        after.write_u8(b'3').await.unwrap();
        assert_eq!(after.read_u8().await.unwrap(), b'3');

        shutdown.trigger();
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
