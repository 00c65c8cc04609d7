//! What a new connection speaks: as declared, else as its first bytes say, else (when the client is silent) as whichever
//! side speaks first says, once the destination has been opened.

use crate::detect::{Protocol as Seen, Seen as Look, detect, http_version};
use crate::error::Error;
use crate::telemetry::{Connection, Detected};
use bytes::{Bytes, BytesMut};
use http::Version;
use mesh_config::Protocol;
use std::time::Duration;
use tokio::net::TcpStream;

/// What is done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Http(Version),
    Opaque,
    /// Nothing: its client has gone.
    Nothing,
}

/// A connection of which it is known what it speaks.
#[derive(Debug)]
pub struct Begun {
    pub speaks: Speaks,
    /// What was read of it.
    pub read: Bytes,
    /// The connection to its destination, where that was opened to find out.
    pub opened: Option<TcpStream>,
}

/// Finds out. `open` opens the destination; `None` from it means that this isn't allowed before more is known.
pub async fn find(
    stream: &mut TcpStream,
    declared: Option<Protocol>,
    silence: Duration,
    connection: &Connection,
    open: impl AsyncFnOnce() -> Option<Result<TcpStream, Error>>,
) -> Result<Begun, Error> {
    let mut read = BytesMut::new();
    let (speaks, how) = match declared {
        Some(Protocol::Tcp | Protocol::Tls) => (Speaks::Opaque, Detected::Declared),
        Some(Protocol::H2c | Protocol::Grpc) => (Speaks::Http(Version::HTTP_2), Detected::Declared),
        Some(Protocol::Http) => match http_version(stream, &mut read).await {
            Ok(Look::Protocol(seen)) => (speaks(seen), Detected::Declared),
            Ok(Look::Silence | Look::Closed) | Err(_) => (Speaks::Nothing, Detected::Closed),
        },
        None => return undeclared(stream, read, silence, connection, open).await,
    };
    connection.detected(how);
    Ok(Begun { speaks, read: read.freeze(), opened: None })
}

async fn undeclared(
    stream: &mut TcpStream,
    mut read: BytesMut,
    silence: Duration,
    connection: &Connection,
    open: impl AsyncFnOnce() -> Option<Result<TcpStream, Error>>,
) -> Result<Begun, Error> {
    let mut look = detect(stream, &mut read, silence).await;
    let mut opened = None;
    let mut first = First::Client;
    if matches!(look, Ok(Look::Silence)) {
        if let Some(destination) = open().await.transpose()? {
            // what was begun and not gone on with may be all that the destination is to get
            let patience = if read.is_empty() { None } else { Some(silence) };
            first = first_to_speak(stream, &destination, patience).await;
            opened = Some(destination);
        }
        if first == First::Client {
            let silence = if opened.is_some() { silence } else { Duration::MAX };
            look = detect(stream, &mut read, silence).await;
        }
    }
    let late = opened.is_some();
    let (speaks, how) = match (first, look) {
        (First::Server, _) => (Speaks::Opaque, Detected::ServerFirst),
        (_, Ok(Look::Protocol(seen))) => (speaks(seen), if late { Detected::ClientLate } else { detected(seen) }),
        (_, Ok(Look::Silence)) => (Speaks::Opaque, Detected::ClientLate),
        // a client may have said all that it will
        (_, Ok(Look::Closed)) if late || !read.is_empty() => (Speaks::Opaque, Detected::Opaque),
        (_, Ok(Look::Closed) | Err(_)) => (Speaks::Nothing, Detected::Closed),
    };
    connection.detected(how);
    Ok(Begun { speaks, read: read.freeze(), opened })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Client,
    Server,
    /// In time.
    Nobody,
}

/// Who says something first, or closes. Nothing is read of it.
async fn first_to_speak(client: &TcpStream, server: &TcpStream, patience: Option<Duration>) -> First {
    let (mut of_client, mut of_server) = ([0], [0]);
    tokio::select! {
        biased;
        _ = server.peek(&mut of_server) => First::Server,
        _ = client.peek(&mut of_client) => First::Client,
        () = tokio::time::sleep(patience.unwrap_or(Duration::MAX)), if patience.is_some() => First::Nobody,
    }
}

fn speaks(seen: Seen) -> Speaks {
    match seen {
        Seen::Http1 => Speaks::Http(Version::HTTP_11),
        Seen::Http2 => Speaks::Http(Version::HTTP_2),
        Seen::Tls | Seen::Opaque => Speaks::Opaque,
    }
}

fn detected(seen: Seen) -> Detected {
    match seen {
        Seen::Http1 => Detected::Http1,
        Seen::Http2 => Detected::Http2,
        Seen::Tls => Detected::Tls,
        Seen::Opaque => Detected::Opaque,
    }
}
