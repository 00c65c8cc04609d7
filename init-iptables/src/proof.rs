//! Shows that the rules work: a connection to an address of nobody's must arrive at the proxy's outbound port, where
//! this program itself listens for that moment and sends a word that nobody else knows.
//!
//! It proves the outbound half alone: what arrives from outside can't be shown from inside. It never fails because the
//! settings leave nothing to prove with.

mod target;

pub use target::{NotPossible, User, target};

use crate::netlink::Socket;
use crate::route::{self, Route};
use crate::ruleset::Family;
use mesh_config::{Capture, names::PORT_OUTBOUND};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// All of it stays within this machine, so only a machine without any time to give needs longer.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(1);

/// What was shown for a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A connection to that address brought our own word back.
    ByWord(SocketAddr),
    /// The port belongs to somebody already (a running proxy); a connection to that address, which nobody has, was
    /// accepted nevertheless.
    ByConnection(SocketAddr),
    /// There is no route: the family isn't in use here.
    NotInUse,
    NotPossible(NotPossible),
}

/// A connection that had to arrive did not.
#[derive(Debug, thiserror::Error)]
#[error(
    "a connection to {target} (an address that belongs to nobody) did not arrive at port {PORT_OUTBOUND}: {reason}. \
     Something else decides on connections before our rules: look for another mesh's or a CNI plugin's rules \
     (`nft list ruleset`, `iptables-save -t nat`) and for eBPF programs on connect (`bpftool cgroup tree`), and \
     exclude this Pod from them"
)]
pub struct NotProven {
    pub target: SocketAddr,
    pub reason: String,
}

/// One family's proof. The error of the outer result is the route lookup's.
pub fn prove(routes: &mut Socket, capture: &Capture, family: Family) -> io::Result<Result<Proof, NotProven>> {
    // SAFETY: both always succeed and take nothing
    let user = unsafe { User { uid: libc::geteuid(), gid: libc::getegid() } };
    let target = match target(capture, family, user) {
        Ok(target) => target,
        Err(reason) => return Ok(Ok(Proof::NotPossible(reason))),
    };
    Ok(match route::to(routes, target.ip())? {
        Route::None => Ok(Proof::NotInUse),
        Route::Interface(name) if name == "lo" => Ok(Proof::NotPossible(NotPossible::Loopback)),
        Route::Interface(name) if capture.exclude_interfaces.contains(&name) => {
            Ok(Proof::NotPossible(NotPossible::Interface(name)))
        }
        Route::Interface(_) => connect(target).map_err(|reason| NotProven { target, reason }),
    })
}

fn connect(target: SocketAddr) -> Result<Proof, String> {
    let any = if target.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    // one family after the other: a second listener on the same port would clash with the first where it takes both
    let listener = match TcpListener::bind((any, PORT_OUTBOUND)) {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => None,
        Err(error) if route::means_none(&error) => return Ok(Proof::NotInUse),
        Err(error) => return Err(format!("can't listen there: {error}")),
    };
    let client = match TcpStream::connect_timeout(&target, PATIENCE) {
        Ok(client) => client,
        Err(error) if route::means_none(&error) => return Ok(Proof::NotInUse),
        // redirected, but whoever holds the port doesn't take connections of this family
        Err(error) if error.kind() == ErrorKind::ConnectionRefused && listener.is_none() => {
            return Ok(Proof::ByConnection(target));
        }
        Err(error) => return Err(error.to_string()),
    };
    match listener {
        None => Ok(Proof::ByConnection(target)),
        Some(listener) => exchange(&listener, client).map(|()| Proof::ByWord(target)),
    }
}

/// Gives the word to whoever arrives, until it comes out at the other end.
fn exchange(listener: &TcpListener, mut client: TcpStream) -> Result<(), String> {
    let word = RandomState::new().hash_one(PORT_OUTBOUND).to_ne_bytes();
    let system = |error: io::Error| error.to_string();
    listener.set_nonblocking(true).map_err(system)?;
    client.set_nonblocking(true).map_err(system)?;
    let deadline = Instant::now() + PATIENCE;
    let (mut held, mut heard) = (Vec::new(), Vec::<u8>::new());
    while heard.len() < word.len() {
        if let Ok((mut arrived, _)) = listener.accept() {
            // a stranger may be gone already; ours reads
            let _ = arrived.write_all(&word);
            held.push(arrived);
        }
        let mut buffer = [0; 64];
        match client.read(&mut buffer) {
            Ok(0) => return Err("somebody else accepted and closed it".into()),
            Ok(length) => heard.extend(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err("somebody else accepted it".into()),
            Err(error) => return Err(error.to_string()),
        }
    }
    // the client's end is closed first: no TIME_WAIT stays at the port that the proxy will bind
    drop(client);
    if heard == word { Ok(()) } else { Err("somebody else answered".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (TcpListener, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener, client)
    }

    #[test]
    fn the_word_comes_back_through_the_own_listener_even_behind_a_stranger() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _stranger = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(exchange(&listener, client), Ok(()));
    }

    #[test]
    fn somebody_elses_answer_is_no_proof() {
        let (elsewhere, client) = pair();
        let (ours, _) = pair();
        elsewhere.accept().unwrap().0.write_all(b"HTTP/1.1 200 OK").unwrap();
        assert_eq!(exchange(&ours, client), Err("somebody else answered".into()));
        let (elsewhere, client) = pair();
        drop(elsewhere.accept().unwrap());
        assert_eq!(exchange(&ours, client), Err("somebody else accepted and closed it".into()));
    }
}
