//! The pass-through address `::6/128` on `lo`. The proxy connects to the Pod's own address from there; a bind to it
//! fails unless the address exists (127.0.0.6 needs nothing: all of 127.0.0.0/8 is local).
//!
//! It is put there only where another interface has an IPv6 address: where none has, it would make resolvers believe
//! that the Pod has IPv6.

use crate::netlink::{Attributes, Socket, find};
use mesh_config::names::PASSTHROUGH_V6;
use std::io::{Error, Result};

/// Who put an address there (`IFA_PROTO`, Linux 5.18; older kernels ignore it). The kernel's own values are below 4.
const IFA_PROTO: u16 = 11;
const IFAPROT_OUTRIGGER: u8 = 0x4f;
/// `struct ifaddrmsg`: family, prefix length, flags, scope, interface (4 bytes).
const HEADER: usize = 8;

/// What became of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassThrough {
    Added,
    /// It was there already; `ours` where the kernel still knows that we put it there.
    Present {
        ours: bool,
    },
    /// No interface but `lo` has IPv6, so it isn't needed.
    NoIpv6,
    /// It is needed, and missing.
    Missing,
}

/// What became of it at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    Removed,
    /// Somebody else put it there, or the kernel is too old to know who did.
    Kept,
    Absent,
}

/// Looks, and changes nothing.
pub fn look(socket: &mut Socket) -> Result<PassThrough> {
    let lo = loopback()?;
    let answers = socket.dump(libc::RTM_GETADDR, &[&header(0, 0)])?;
    let all: Vec<Address> = answers.iter().filter_map(|payload| Address::read(payload)).collect();
    let is_it = |address: &&Address| address.interface == lo && address.address == PASSTHROUGH_V6.octets();
    Ok(match all.iter().find(is_it) {
        Some(found) => PassThrough::Present { ours: found.protocol == Some(IFAPROT_OUTRIGGER) },
        None if all.iter().any(|address| address.interface != lo) => PassThrough::Missing,
        None => PassThrough::NoIpv6,
    })
}

/// Puts it on `lo` where it is needed.
pub fn ensure(socket: &mut Socket) -> Result<PassThrough> {
    let found = look(socket)?;
    if found != PassThrough::Missing {
        return Ok(found);
    }
    let flags = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    match change(socket, libc::RTM_NEWADDR, flags) {
        // somebody was faster
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(PassThrough::Present { ours: false }),
        done => done.map(|()| PassThrough::Added),
    }
}

/// Takes it away if the kernel knows that we put it there.
pub fn remove(socket: &mut Socket) -> Result<Removal> {
    match look(socket)? {
        PassThrough::Present { ours: true } => change(socket, libc::RTM_DELADDR, 0).map(|()| Removal::Removed),
        PassThrough::Present { ours: false } => Ok(Removal::Kept),
        PassThrough::Added | PassThrough::NoIpv6 | PassThrough::Missing => Ok(Removal::Absent),
    }
}

fn change(socket: &mut Socket, kind: u16, flags: u16) -> Result<()> {
    let mut message = Attributes::after(&header(128, loopback()?));
    message.put(libc::IFA_LOCAL, &PASSTHROUGH_V6.octets()).put(IFA_PROTO, &[IFAPROT_OUTRIGGER]);
    socket.change(kind, flags, &[message.bytes()])
}

fn header(prefix: u8, interface: u32) -> [u8; HEADER] {
    let [a, b, c, d] = interface.to_ne_bytes();
    [libc::AF_INET6 as u8, prefix, 0, libc::RT_SCOPE_UNIVERSE, a, b, c, d]
}

fn loopback() -> Result<u32> {
    // SAFETY: the name ends with NUL
    match unsafe { libc::if_nametoindex(c"lo".as_ptr()) } {
        0 => Err(Error::last_os_error()),
        index => Ok(index),
    }
}

struct Address {
    interface: u32,
    address: [u8; 16],
    protocol: Option<u8>,
}

impl Address {
    /// `None`: not an IPv6 address.
    fn read(payload: &[u8]) -> Option<Self> {
        let (header, rest) = payload.split_at_checked(HEADER)?;
        Some(Address {
            interface: u32::from_ne_bytes(header[4..].try_into().ok()?),
            address: find(rest, libc::IFA_ADDRESS)?.try_into().ok()?,
            protocol: find(rest, IFA_PROTO).and_then(|data| data.first().copied()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_one_cut_short_is_not() {
        let mut answer = Attributes::after(&header(128, 1));
        answer.put(libc::IFA_ADDRESS, &PASSTHROUGH_V6.octets());
        let length = answer.bytes().len();
        answer.put(IFA_PROTO, &[IFAPROT_OUTRIGGER]);
        let read = Address::read(answer.bytes()).unwrap();
        assert_eq!((read.interface, read.address), (1, PASSTHROUGH_V6.octets()));
        assert_eq!(read.protocol, Some(IFAPROT_OUTRIGGER));
        assert_eq!(Address::read(&answer.bytes()[..length]).unwrap().protocol, None);
        for end in 0..length {
            assert!(Address::read(&answer.bytes()[..end]).is_none(), "{end}");
        }
    }
}
