//! Netlink attributes: a length, a type, the data, padding to four bytes. Written into a growing buffer, read by
//! iterating; what is cut short ends the iteration, it never panics.

/// Lengths and padding count from here (`struct nlattr`).
const HEADER: usize = 4;
/// `NLA_ALIGNTO`
const ALIGN: usize = 4;
/// The type without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;
/// An attribute's length is 16 bits.
pub const MAX_DATA: usize = u16::MAX as usize - HEADER;

/// Attributes, or whatever else a payload starts with, ready to be sent.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    pub fn new() -> Self {
        Self::default()
    }

    /// After a family's header, such as `struct ifaddrmsg`.
    pub fn after(header: &[u8]) -> Self {
        Attributes(header.to_vec())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn put(&mut self, kind: u16, data: &[u8]) -> &mut Self {
        debug_assert!(data.len() <= MAX_DATA, "callers split what may be larger");
        self.0.extend(((data.len() + HEADER) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
        self
    }

    /// nf_tables sends numbers in network order (`NLA_BE32`).
    pub fn put_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// With the NUL that the kernel's strings end with.
    pub fn put_text(&mut self, kind: u16, text: &str) -> &mut Self {
        self.put(kind, &[text.as_bytes(), b"\0"].concat())
    }

    pub fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes)) -> &mut Self {
        let mut nested = Attributes::new();
        inner(&mut nested);
        self.put(kind | libc::NLA_F_NESTED as u16, &nested.0)
    }
}

/// The attributes in a payload: type without flag bits, data.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..HEADER)?.try_into().ok()?) & TYPE_MASK;
        let data = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some((kind, data))
    })
}

/// The first attribute of a type.
pub fn find(payload: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(payload).find(|(found, _)| *found == kind).map(|(_, data)| data)
}

pub fn find_u32(payload: &[u8], kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes(find(payload, kind)?.try_into().ok()?))
}

pub fn find_text(payload: &[u8], kind: u16) -> Option<String> {
    find(payload, kind).map(text)
}

/// A kernel's string: up to its NUL.
pub fn text(data: &[u8]) -> String {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_written_as_the_kernel_reads_them() {
        let mut out = Attributes::new();
        out.put_text(1, "ab").put_u32(2, 0x0102_0304).nest(3, |inner| {
            inner.put(7, &[9]);
        });
        #[rustfmt::skip]
        let want: &[u8] = &[
            7, 0, 1, 0, b'a', b'b', 0, 0, // "ab" with its NUL is three bytes; padding doesn't count
            8, 0, 2, 0, 1, 2, 3, 4,
            12, 0, 3, 0x80, 5, 0, 7, 0, 9, 0, 0, 0,
        ];
        assert_eq!(out.bytes(), want);
    }

    #[test]
    fn attributes_come_back_without_their_flags() {
        let mut out = Attributes::new();
        out.put_text(1, "ab").nest(3, |inner| {
            inner.put_u32(7, 9);
        });
        assert_eq!(find_text(out.bytes(), 1).as_deref(), Some("ab"));
        assert_eq!(find_u32(find(out.bytes(), 3).unwrap(), 7), Some(9));
        assert_eq!(find(out.bytes(), 2), None);
        assert_eq!(find_u32(out.bytes(), 1), None, "three bytes are no u32");
    }

    #[test]
    fn what_is_cut_short_or_lies_about_its_length_ends_the_reading() {
        let mut out = Attributes::new();
        out.put_u32(1, 1).put_u32(2, 2);
        for end in 0..out.bytes().len() {
            assert!(attributes(&out.bytes()[..end]).count() < 2, "{end}");
        }
        for lie in [0u16, 3, 200, u16::MAX] {
            let bytes = [&lie.to_ne_bytes()[..], &[1, 0, 0, 0, 0, 0]].concat();
            assert_eq!(attributes(&bytes).count(), 0, "{lie}");
        }
    }
}
