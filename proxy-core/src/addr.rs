//! Addresses: where a redirected connection was going, and whether that is ourselves.
//!
//! Sockets that take both families write IPv4 addresses as IPv6 ones (`::ffff:10.0.0.1`); everything behind this module
//! sees the address itself.

use socket2::SockRef;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::{fmt, io};
use tokio::net::TcpStream;

/// The same address, IPv4 where it is IPv4-mapped.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        // with its scope, which a link-local address can't be reached without
        IpAddr::V6(_) => address,
    }
}

/// Where a connection was going before it was redirected to us. A trait, so that tests need no NAT rules.
pub trait OriginalDst: fmt::Debug + Send + Sync + 'static {
    fn original_dst(&self, stream: &TcpStream, peer: SocketAddr) -> io::Result<SocketAddr>;
}

/// The kernel's connection tracking.
#[derive(Clone, Copy, Debug)]
pub struct Kernel;

impl OriginalDst for Kernel {
    /// `peer` as `accept` returned it: asking with the call of the other family gives ENOENT, and a listener for both
    /// families shows by the mapped form which one it is. No NAT rules in the namespace give ENOENT too; a connection that
    /// wasn't redirected gives its own local address, which is one of our ports.
    fn original_dst(&self, stream: &TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
        let socket = SockRef::from(stream);
        let address =
            if peer.ip().to_canonical().is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() }?;
        let address =
            address.as_socket().ok_or_else(|| io::Error::other("the original destination is no IP address"))?;
        Ok(canonical(address))
    }
}

/// Whether the address belongs to this network namespace: only such an address can be bound. It costs three system
/// calls, so it is asked only of connections to a port of ours.
pub fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_become_ipv4() {
        for (written, want) in [
            ("[::ffff:10.1.2.3]:80", "10.1.2.3:80"),
            ("[fe80::1%3]:80", "[fe80::1%3]:80"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(canonical(written.parse().unwrap()), want.parse().unwrap(), "{written}");
        }
    }

    #[test]
    fn only_addresses_of_this_machine_are_local() {
        for (ip, want) in [("127.0.0.1", true), ("127.9.9.9", true), ("192.0.2.1", false), ("2001:db8::1", false)] {
            assert_eq!(is_local(ip.parse().unwrap()), want, "{ip}");
        }
    }
}
