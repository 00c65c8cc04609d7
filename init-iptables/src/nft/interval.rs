//! Sets of ranges as nf_tables keeps them: sorted keys, each the start of an interval or the marked end of one; an end
//! is the first key *outside*. Overlapping or adjacent ranges are merged first, since the kernel refuses overlaps and
//! nft shows adjacent ones as written.

use crate::ruleset::Elements;

/// A closed range of keys, in network order whatever they are: the kernel compares bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    pub first: Vec<u8>,
    pub last: Vec<u8>,
}

/// One key as the kernel keeps it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    pub key: Vec<u8>,
    /// `NFT_SET_ELEM_INTERVAL_END`
    pub end: bool,
    /// The start of an interval that has no end, since no key lies behind it.
    pub open: bool,
}

/// Sorted, disjoint, not adjacent.
pub fn intervals(elements: &Elements) -> Vec<Interval> {
    match elements {
        Elements::Ports(ports) => {
            let bytes = |port: u16| port.to_be_bytes().to_vec();
            ports.iter().map(|(first, last)| Interval { first: bytes(first), last: bytes(last) }).collect()
        }
        Elements::Uids(uids) => {
            let bytes = |uid: u32| uid.to_be_bytes().to_vec();
            uids.iter().map(|(first, last)| Interval { first: bytes(first), last: bytes(last) }).collect()
        }
        Elements::V4(nets) => {
            let of = |net: &ipnet::Ipv4Net| (net.network().to_bits().into(), net.broadcast().to_bits().into());
            let bytes = |bits: u128| (bits as u32).to_be_bytes().to_vec();
            merge(nets.iter().map(of).collect(), bytes)
        }
        Elements::V6(nets) => {
            let of = |net: &ipnet::Ipv6Net| (net.network().to_bits(), net.broadcast().to_bits());
            merge(nets.iter().map(of).collect(), |bits| bits.to_be_bytes().to_vec())
        }
    }
}

fn merge(mut ranges: Vec<(u128, u128)>, bytes: impl Fn(u128) -> Vec<u8>) -> Vec<Interval> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into_iter().map(|(first, last)| Interval { first: bytes(first), last: bytes(last) }).collect()
}

/// As nft sends them: a set that doesn't begin with the lowest key begins with an end.
pub fn to_elements(intervals: &[Interval]) -> Vec<Element> {
    let mut elements = Vec::with_capacity(intervals.len() * 2 + 1);
    if let Some(Interval { first, .. }) = intervals.first().filter(|lowest| lowest.first.iter().any(|byte| *byte != 0))
    {
        elements.push(Element { key: vec![0; first.len()], end: true, open: false });
    }
    for Interval { first, last } in intervals {
        let end = successor(last).map(|key| Element { key, end: true, open: false });
        elements.push(Element { key: first.clone(), end: false, open: end.is_none() });
        elements.extend(end);
    }
    elements
}

/// Back from what the kernel holds, in any order.
pub fn from_elements(mut elements: Vec<Element>) -> Vec<Interval> {
    elements.sort_unstable();
    let mut intervals: Vec<Interval> = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for Element { key, end, .. } in elements {
        match (open.take(), end) {
            (Some(first), true) => intervals.push(Interval { first, last: predecessor(&key) }),
            // a start within an open interval: two that touch, or nonsense that then differs from what is wanted
            (Some(first), false) => {
                intervals.push(Interval { first, last: predecessor(&key) });
                open = Some(key);
            }
            (None, false) => open = Some(key),
            (None, true) => {}
        }
    }
    intervals.extend(open.map(|first| Interval { last: vec![0xff; first.len()], first }));
    intervals
}

/// The next key; `None` behind the highest.
fn successor(key: &[u8]) -> Option<Vec<u8>> {
    let mut next = key.to_vec();
    for byte in next.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(next);
        }
    }
    None
}

/// The key before; the lowest wraps to the highest, which then differs from anything wanted.
fn predecessor(key: &[u8]) -> Vec<u8> {
    let mut before = key.to_vec();
    for byte in before.iter_mut().rev() {
        *byte = byte.wrapping_sub(1);
        if *byte != 0xff {
            break;
        }
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_config::capture::parse_cidrs;

    fn v4(text: &str) -> Vec<Interval> {
        let nets = parse_cidrs(text).unwrap();
        intervals(&Elements::V4(
            nets.iter().filter_map(|net| if let ipnet::IpNet::V4(v4) = net { Some(*v4) } else { None }).collect(),
        ))
    }

    fn interval(first: &[u8], last: &[u8]) -> Interval {
        Interval { first: first.into(), last: last.into() }
    }

    #[test]
    fn overlapping_and_adjacent_networks_become_one_interval() {
        assert_eq!(
            v4("10.0.2.0/24,10.0.1.0/24,10.0.1.128/25,10.0.4.0/24"),
            [interval(&[10, 0, 1, 0], &[10, 0, 2, 255]), interval(&[10, 0, 4, 0], &[10, 0, 4, 255])]
        );
        assert_eq!(v4("0.0.0.0/0,10.0.0.0/8"), [interval(&[0; 4], &[255; 4])]);
        let all = Elements::V6(vec!["::/0".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        assert_eq!(intervals(&all), [interval(&[0; 16], &[255; 16])]);
    }

    #[test]
    fn intervals_become_starts_and_the_first_keys_outside() {
        let element = |key: [u8; 2], end| Element { key: key.into(), end, open: false };
        let ports = |text: &str| to_elements(&intervals(&Elements::Ports(text.parse().unwrap())));
        assert_eq!(ports("80-255"), [element([0, 0], true), element([0, 80], false), element([1, 0], true)]);
        let open = Element { open: true, ..element([255, 255], false) };
        assert_eq!(ports("65535"), [element([0, 0], true), open]);
        let uids = to_elements(&intervals(&Elements::Uids("0".parse().unwrap())));
        assert_eq!(
            uids,
            [
                Element { key: vec![0; 4], end: false, open: false },
                Element { key: vec![0, 0, 0, 1], end: true, open: false }
            ]
        );
    }

    #[test]
    fn what_the_kernel_holds_comes_back_as_it_went_in_any_order() {
        for text in ["1", "1-65535", "80,443,8000-9000", "65535", "2-3,65534-65535"] {
            let want = intervals(&Elements::Ports(text.parse().unwrap()));
            let mut elements = to_elements(&want);
            elements.reverse();
            assert_eq!(from_elements(elements), want, "{text}");
        }
        assert_eq!(from_elements(to_elements(&v4("0.0.0.0/0"))), v4("0.0.0.0/0"));
        assert_eq!(from_elements(to_elements(&v4("0.0.0.0/8,255.255.255.255/32"))), v4("0.0.0.0/8,255.255.255.255/32"));
    }

    #[test]
    fn nonsense_from_the_kernel_differs_and_does_not_panic() {
        let element = |key: u8, end| Element { key: vec![key], end, open: false };
        assert_eq!(from_elements(vec![element(0, false), element(0, true)]), [interval(&[0], &[255])]);
        assert_eq!(from_elements(vec![element(3, false), element(5, false)]).len(), 2);
        assert_eq!(from_elements(vec![Element { key: vec![], end: false, open: false }]), [interval(&[], &[])]);
    }
}
