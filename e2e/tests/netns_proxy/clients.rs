//! curl, and connections by hand.

use super::{APP, At};
use e2e::netns::Topology;
use e2e::netns::program::{connect, tool};
use std::io::{ErrorKind, Read};
use std::net::TcpStream;

/// curl(1), exit codes: "failed to connect to host", and
pub const CANNOT_CONNECT: i32 = 7;
/// "SSL connect error".
pub const TLS_CONNECT_ERROR: i32 = 35;

/// What curl said.
#[derive(Debug)]
pub struct Curl {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// By an ordinary user; nothing of the machine's own settings is heard.
pub fn curl(topology: &Topology, from: At, words: &[&str]) -> Curl {
    let namespace = if from == At::Pod { &topology.pod } else { &topology.peer };
    let mut command = tool(namespace, APP, APP, "curl");
    command.args(["--disable", "--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]).args(words);
    let output = command.output().expect("curl can be run; apt-get install curl");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().expect("curl ends by itself");
    Curl { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A connection by an ordinary user.
pub fn open(topology: &Topology, from: At, to: &str) -> TcpStream {
    try_open(topology, from, to).unwrap_or_else(|error| panic!("connect from the {from:?} to {to}: {error}"))
}

pub fn try_open(topology: &Topology, from: At, to: &str) -> std::io::Result<TcpStream> {
    let namespace = if from == At::Pod { &topology.pod } else { &topology.peer };
    connect(namespace, APP, APP, None, to.parse().expect("an address of the test"))
}

/// The status that curl got.
pub fn get(topology: &Topology, from: At, flag: &str, url: &str) -> String {
    let curl = curl(topology, from, &[flag, "-o", "/dev/null", "-w", "%{http_code}", url]);
    assert_eq!(curl.code, 0, "{url} {curl:?}");
    curl.stdout
}

/// Reads until the other side ends; whether that was by a reset.
pub fn ends_by_reset(stream: &mut TcpStream) -> bool {
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {
            assert_eq!(heard, b"", "what was said before the reset");
            true
        }
        Err(error) => panic!("neither an end nor a reset: {error}"),
    }
}

/// Whether a connection is reset, maybe even before the client knows that it has one.
pub fn is_reset(topology: &Topology, from: At, to: &str) -> bool {
    match try_open(topology, from, to) {
        Ok(mut stream) => ends_by_reset(&mut stream),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(error) => panic!("connect from the {from:?} to {to}: {error}"),
    }
}
