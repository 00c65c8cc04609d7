//! A server that says to whoever sends it a line whom it saw: the address that the connection came from.

use e2e::netns::{Namespace, program::PATIENCE};
use socket2::SockRef;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// It listens on both families until it is dropped.
pub struct Teller {
    socket: TcpListener,
    accepted: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// What a client says to it: nothing that could become HTTP.
pub const QUESTION: &[u8] = b"who?\n";

impl Teller {
    pub fn start(namespace: &Namespace, port: u16) -> Teller {
        let socket = namespace.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).unwrap();
        let socket = socket.unwrap_or_else(|error| panic!("can't listen on port {port}: {error}"));
        let accepting = socket.try_clone().unwrap();
        let accepted = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&accepted);
        let thread = std::thread::spawn(move || {
            while let Ok((stream, peer)) = accepting.accept() {
                count.fetch_add(1, Ordering::Relaxed);
                // the client reads what is missing as an error
                std::thread::spawn(move || answer(stream, peer));
            }
        });
        Teller { socket, accepted, thread: Some(thread) }
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        // wakes `accept` with an error
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, peer: SocketAddr) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut question = String::new();
    BufReader::new(&stream).read_line(&mut question)?;
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    write!(stream, "{peer}")
}
