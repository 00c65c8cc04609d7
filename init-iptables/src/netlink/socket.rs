//! A netlink socket: one request and its answer, a dump, or a batch whose frames are each acknowledged. It never waits
//! longer than five seconds for the kernel.

use super::frame::{self, Frame, frames};
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// The kernel answers at once, or something is badly wrong.
const PATIENCE: Duration = Duration::from_secs(5);
/// Several pages of a dump, or all acknowledgements of a batch, in one read (the kernel's pages are at most 32 KiB).
const READ_BUFFER: usize = 64 * 1024;
/// How often a dump is begun again because the rules changed under it.
const DUMP_ATTEMPTS: u32 = 5;

/// The kernel refused a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", Error::from_raw_os_error(*errno), words.as_ref().map(|w| format!(" ({w})")).unwrap_or_default())]
pub struct Refused {
    pub errno: i32,
    /// The kernel's own words, where it has some.
    pub words: Option<String>,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Error::from_raw_os_error(refused.errno)
    }
}

pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// `protocol` is `NETLINK_NETFILTER` or `NETLINK_ROUTE`.
    pub fn open(protocol: libc::c_int) -> Result<Self> {
        // SAFETY: no pointers
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's
        let socket = Socket { fd: unsafe { OwnedFd::from_raw_fd(fd) }, sequence: 0 };
        // without these the kernel only has fewer words for an error: no reason to give up
        let _ = socket.option(libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, &1i32);
        let _ = socket.option(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, &1i32);
        let patience = libc::timeval { tv_sec: PATIENCE.as_secs() as libc::time_t, tv_usec: 0 };
        socket.option(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &patience)?;
        Ok(socket)
    }

    /// The answer to a request that has exactly one.
    pub fn request(&mut self, kind: u16, payload: &[&[u8]]) -> Result<Vec<u8>> {
        self.ask(kind, 0, payload)?.into_iter().next().ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// A request that changes something.
    pub fn change(&mut self, kind: u16, flags: u16, payload: &[&[u8]]) -> Result<()> {
        self.ask(kind, libc::NLM_F_ACK as u16 | flags, payload).map(drop)
    }

    /// All payloads of a dump, of one state: it is begun again if something changes meanwhile.
    pub fn dump(&mut self, kind: u16, payload: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        for _ in 1..DUMP_ATTEMPTS {
            match self.ask(kind, libc::NLM_F_DUMP as u16, payload) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
        self.ask(kind, libc::NLM_F_DUMP as u16, payload)
    }

    /// Sends a batch in one piece. `acknowledged` counts the frames that ask for that, with sequences from 1; the error
    /// says which one was refused first (0: the batch as a whole).
    pub fn batch(&mut self, bytes: &[u8], acknowledged: u32) -> Result<std::result::Result<(), (u32, Refused)>> {
        // a batch is one datagram; only SO_SNDBUFFORCE goes beyond the system's limit, and it needs what we have anyway
        let room = bytes.len() as i32 * 2;
        for force in [libc::SO_SNDBUFFORCE, libc::SO_RCVBUFFORCE] {
            let _ = self.option(libc::SOL_SOCKET, force, &room.max(1 << 20));
        }
        self.send(bytes)?;
        let (mut seen, mut refused, mut buffer) = (0, None, vec![0; READ_BUFFER]);
        // all answers are queued when the send returns; after an error there can be fewer than frames
        while seen < acknowledged {
            let length = match self.receive(&mut buffer, libc::MSG_DONTWAIT) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && refused.is_some() => break,
                other => other?,
            };
            for answer in frames(&buffer[..length]).filter(|answer| i32::from(answer.kind) == libc::NLMSG_ERROR) {
                seen += 1;
                match answer.outcome() {
                    Some((0, _)) => {}
                    Some((errno, words)) if refused.is_none() => {
                        refused = Some((answer.sequence, Refused { errno, words }));
                    }
                    _ => {}
                }
            }
        }
        Ok(refused.map_or(Ok(()), Err))
    }

    fn ask(&mut self, kind: u16, flags: u16, payload: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        frame::put(&mut bytes, kind, flags, self.sequence, payload);
        self.send(&bytes)?;
        let (mut answers, mut buffer, mut changed) = (Vec::new(), vec![0; READ_BUFFER], false);
        loop {
            let length = self.receive(&mut buffer, 0)?;
            // an answer to an earlier, abandoned request is not ours
            let ours = |answer: &Frame<'_>| answer.sequence == self.sequence;
            for answer in frames(&buffer[..length]).filter(ours) {
                changed |= answer.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
                let done = matches!(i32::from(answer.kind), libc::NLMSG_ERROR | libc::NLMSG_DONE);
                match (done, answer.outcome()) {
                    (true, Some((errno, words))) if errno != 0 => return Err(Refused { errno, words }.into()),
                    (true, _) if changed => return Err(ErrorKind::Interrupted.into()),
                    (true, _) => return Ok(answers),
                    (false, _) => answers.push(answer.payload.to_vec()),
                }
                if answer.flags & libc::NLM_F_MULTI as u16 == 0 && flags & libc::NLM_F_ACK as u16 == 0 {
                    return Ok(answers);
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        // SAFETY: `bytes` outlives the call
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 { Err(Error::last_os_error()) } else { Ok(()) }
    }

    /// One datagram. Unlike a byte stream's, its end is never left for the next read: too long a one is an error.
    fn receive(&self, buffer: &mut [u8], flags: libc::c_int) -> Result<usize> {
        // SAFETY: `buffer` outlives the call
        let length = unsafe {
            libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags | libc::MSG_TRUNC)
        };
        match usize::try_from(length) {
            Err(_) => Err(Error::last_os_error()),
            Ok(length) if length > buffer.len() => Err(Error::other("the kernel's answer is longer than it can be")),
            Ok(length) => Ok(length),
        }
    }

    fn option<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> Result<()> {
        let (pointer, length) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
        // SAFETY: pointer and length describe `value`, which outlives the call
        let done = unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, name, pointer, length) };
        if done < 0 { Err(Error::last_os_error()) } else { Ok(()) }
    }
}
