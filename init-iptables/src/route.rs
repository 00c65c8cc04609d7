//! Which interface a connection to an address would leave by, asked of the kernel (`RTM_GETROUTE`).

use crate::netlink::{Attributes, Socket, find};
use std::io::{Error, Result};
use std::net::IpAddr;

/// `struct rtmsg`: family, prefix lengths of destination and source, TOS, table, protocol, scope, type, flags (4
/// bytes).
const HEADER: usize = 12;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Interface(String),
    /// There is none: a connection is refused before any rule sees it.
    None,
}

pub fn to(socket: &mut Socket, address: IpAddr) -> Result<Route> {
    let (family, bits) = if address.is_ipv4() { (libc::AF_INET, 32) } else { (libc::AF_INET6, 128) };
    let mut header = [0; HEADER];
    header[..2].copy_from_slice(&[family as u8, bits]);
    let mut message = Attributes::after(&header);
    match address {
        IpAddr::V4(v4) => message.put(libc::RTA_DST, &v4.octets()),
        IpAddr::V6(v6) => message.put(libc::RTA_DST, &v6.octets()),
    };
    match socket.request(libc::RTM_GETROUTE, &[message.bytes()]) {
        Ok(answer) => interface(&answer),
        Err(error) if means_none(&error) => Ok(Route::None),
        Err(error) => Err(error),
    }
}

/// No route, an `unreachable`, `prohibit` or `blackhole` one, or no such family in this kernel.
pub fn means_none(error: &Error) -> bool {
    let none = [
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::EACCES,
        libc::EINVAL,
        libc::EAFNOSUPPORT,
        libc::EOPNOTSUPP,
        libc::EADDRNOTAVAIL,
    ];
    error.raw_os_error().is_some_and(|code| none.contains(&code))
}

fn interface(answer: &[u8]) -> Result<Route> {
    let index = answer.get(HEADER..).and_then(|rest| find(rest, libc::RTA_OIF)?.try_into().ok());
    let Some(index) = index.map(u32::from_ne_bytes) else { return Ok(Route::None) };
    let mut name = [0u8; libc::IFNAMSIZ];
    // SAFETY: the kernel writes at most IFNAMSIZ bytes, NUL included
    if unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) }.is_null() {
        return Err(Error::last_os_error());
    }
    Ok(Route::Interface(crate::netlink::attributes::text(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn loopback_is_reached_by_lo() {
        let mut socket = Socket::open(libc::NETLINK_ROUTE).unwrap();
        assert_eq!(to(&mut socket, Ipv4Addr::LOCALHOST.into()).unwrap(), Route::Interface("lo".into()));
    }

    #[test]
    fn an_answer_without_an_interface_is_no_route() {
        assert_eq!(interface(&[0; HEADER]).unwrap(), Route::None);
        assert_eq!(interface(&[]).unwrap(), Route::None);
    }
}
