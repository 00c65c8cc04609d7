//! Netlink frames: `struct nlmsghdr` and a payload; the kernel answers with several in one read.

use super::attributes::{find, text};

/// `struct nlmsghdr`: length (4), type (2), flags (2), sequence (4), port (4).
const HEADER: usize = 16;
/// `NLMSG_ALIGNTO`
const ALIGN: usize = 4;
/// `NLMSGERR_ATTR_MSG`: why, in words.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

/// Appends a frame; the payload starts with the header of its family.
pub fn put(out: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, payload: &[&[u8]]) {
    let start = out.len();
    let length = HEADER + payload.iter().map(|part| part.len()).sum::<usize>();
    out.extend((length as u32).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend((libc::NLM_F_REQUEST as u16 | flags).to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend(0u32.to_ne_bytes()); // the kernel fills in our port
    payload.iter().for_each(|part| out.extend(*part));
    out.resize(start + length.next_multiple_of(ALIGN), 0);
}

/// The frames of one read.
pub fn frames(mut rest: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let u16_at = |at: usize| Some(u16::from_ne_bytes(rest.get(at..at + 2)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_ne_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let length = u32_at(0)? as usize;
        let frame =
            Frame { kind: u16_at(4)?, flags: u16_at(6)?, sequence: u32_at(8)?, payload: rest.get(HEADER..length)? };
        rest = rest.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some(frame)
    })
}

impl Frame<'_> {
    /// For `NLMSG_ERROR`, and for the `NLMSG_DONE` of a dump: the error number (0: all is well), and the kernel's own
    /// words where it has some.
    pub fn outcome(&self) -> Option<(i32, Option<String>)> {
        let code = -i32::from_ne_bytes(self.payload.get(..4)?.try_into().ok()?);
        let has_words = self.flags & libc::NLM_F_ACK_TLVS as u16 != 0;
        // after the code: the header of our frame, its payload too unless NLM_F_CAPPED, then attributes
        let original = self.payload.get(4..4 + HEADER);
        let words = original.filter(|_| has_words).and_then(|header| {
            let length = if self.flags & libc::NLM_F_CAPPED as u16 != 0 {
                HEADER
            } else {
                u32::from_ne_bytes(header[..4].try_into().ok()?) as usize
            };
            find(self.payload.get(4 + length.next_multiple_of(ALIGN)..)?, NLMSGERR_ATTR_MSG).map(text)
        });
        Some((code, words))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Attributes;
    use super::*;

    #[test]
    fn a_frame_is_written_and_read_back() {
        let mut out = Vec::new();
        put(&mut out, 0x0a06, libc::NLM_F_ACK as u16, 7, &[&[1, 0, 0, 0], &[9]]);
        assert_eq!(out, [21, 0, 0, 0, 6, 10, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
        put(&mut out, 3, 0, 8, &[]);
        let read: Vec<_> = frames(&out).collect();
        assert_eq!(read[0], Frame { kind: 0x0a06, flags: 5, sequence: 7, payload: &[1, 0, 0, 0, 9] });
        assert_eq!((read[1].kind, read[1].sequence, read.len()), (3, 8, 2));
    }

    #[test]
    fn what_is_cut_short_or_lies_about_its_length_ends_the_reading() {
        let mut out = Vec::new();
        put(&mut out, 2, 0, 1, &[&[0; 4]]);
        for end in 0..out.len() {
            assert_eq!(frames(&out[..end]).count(), 0, "{end}");
        }
        out[0] = 3;
        assert_eq!(frames(&out).count(), 0);
    }

    #[test]
    fn the_kernels_words_stand_after_our_header_or_our_whole_frame() {
        let mut words = Attributes::new();
        words.put_text(NLMSGERR_ATTR_MSG, "no such thing");
        let header = [24u32.to_ne_bytes(), [0; 4], [0; 4], [0; 4]].concat();
        let code = (-libc::ENOENT).to_ne_bytes();
        for (flags, echoed) in [(libc::NLM_F_CAPPED, 0), (0, 8)] {
            let payload = [&code[..], &header, &[0; 8][..echoed], words.bytes()].concat();
            let flags = (flags | libc::NLM_F_ACK_TLVS) as u16;
            let frame = Frame { kind: 2, flags, sequence: 1, payload: &payload };
            assert_eq!(frame.outcome(), Some((libc::ENOENT, Some("no such thing".into()))));
        }
        let frame = Frame { kind: 2, flags: 0, sequence: 1, payload: &code };
        assert_eq!(frame.outcome(), Some((libc::ENOENT, None)));
        assert_eq!(Frame { payload: &code[..3], ..frame }.outcome(), None);
    }
}
