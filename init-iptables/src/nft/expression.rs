//! The few nf_tables expressions that our rules consist of, to and from netlink. All of them work on register 1.
//!
//! A redirect is two of the kernel's expressions, an `immediate` that loads the port and a `redir`: here it is one.

use super::kernel::*;
use crate::netlink::attributes::{attributes, text};
use crate::netlink::{Attributes, find, find_text, find_u32};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads a property of the packet (`NFT_META_*`).
    Meta(u32),
    /// Loads bytes of a header (`NFT_PAYLOAD_*_HEADER`).
    Payload {
        base: u32,
        offset: u32,
        length: u32,
    },
    /// Turns the loaded 32-bit number into network order.
    HostToNetwork32,
    /// Goes on if the loaded bytes are these.
    Equal(Vec<u8>),
    /// Goes on if they aren't.
    NotEqual(Vec<u8>),
    /// Goes on if the set has them.
    InSet(String),
    /// To a port of this machine.
    Redirect(u16),
    Return,
    Jump(String),
    /// One that we never write; the kernel's name of it.
    Foreign(String),
}

const REGISTER: u32 = libc::NFT_REG_1 as u32;
const VERDICT_REGISTER: u32 = libc::NFT_REG_VERDICT as u32;

impl Expression {
    /// Appends it to `NFTA_RULE_EXPRESSIONS`.
    pub fn encode(&self, list: &mut Attributes) {
        match self {
            Expression::Meta(key) => put(list, "meta", |data| {
                data.put_u32(NFTA_META_KEY, *key).put_u32(NFTA_META_DREG, REGISTER);
            }),
            Expression::Payload { base, offset, length } => put(list, "payload", |data| {
                data.put_u32(NFTA_PAYLOAD_DREG, REGISTER).put_u32(NFTA_PAYLOAD_BASE, *base);
                data.put_u32(NFTA_PAYLOAD_OFFSET, *offset).put_u32(NFTA_PAYLOAD_LEN, *length);
            }),
            Expression::HostToNetwork32 => put(list, "byteorder", |data| {
                data.put_u32(NFTA_BYTEORDER_SREG, REGISTER).put_u32(NFTA_BYTEORDER_DREG, REGISTER);
                data.put_u32(NFTA_BYTEORDER_OP, libc::NFT_BYTEORDER_HTON as u32);
                data.put_u32(NFTA_BYTEORDER_LEN, 4).put_u32(NFTA_BYTEORDER_SIZE, 4);
            }),
            Expression::Equal(bytes) => compare(list, libc::NFT_CMP_EQ, bytes),
            Expression::NotEqual(bytes) => compare(list, libc::NFT_CMP_NEQ, bytes),
            Expression::InSet(name) => put(list, "lookup", |data| {
                data.put_u32(NFTA_LOOKUP_SREG, REGISTER).put_text(NFTA_LOOKUP_SET, name);
            }),
            Expression::Redirect(port) => {
                put(list, "immediate", |data| {
                    data.put_u32(NFTA_IMMEDIATE_DREG, REGISTER).nest(NFTA_IMMEDIATE_DATA, |value| {
                        value.put(NFTA_DATA_VALUE, &port.to_be_bytes());
                    });
                });
                put(list, "redir", |data| {
                    data.put_u32(NFTA_REDIR_REG_PROTO_MIN, REGISTER);
                    data.put_u32(NFTA_REDIR_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
                });
            }
            Expression::Return => verdict(list, libc::NFT_RETURN, None),
            Expression::Jump(chain) => verdict(list, libc::NFT_JUMP, Some(chain)),
            Expression::Foreign(name) => put(list, name, |_| ()),
        }
    }

    /// All of a rule's `NFTA_RULE_EXPRESSIONS`.
    pub fn decode_all(list: &[u8]) -> Vec<Expression> {
        let mut all = Vec::new();
        let mut loaded_port = None;
        for (_, expression) in attributes(list) {
            let name = find_text(expression, NFTA_EXPR_NAME).unwrap_or_default();
            let data = find(expression, NFTA_EXPR_DATA).unwrap_or_default();
            if name == "immediate"
                && let Some(port) = port(data)
            {
                loaded_port = Some(port);
            } else {
                all.push(decode(&name, data, &mut loaded_port).unwrap_or(Expression::Foreign(name)));
            }
        }
        // a port that nothing redirects to
        all.extend(loaded_port.map(|_| Expression::Foreign("immediate".into())));
        all
    }
}

/// `None`: not one that we write.
fn decode(name: &str, data: &[u8], loaded_port: &mut Option<u16>) -> Option<Expression> {
    let number = |kind| find_u32(data, kind);
    let in_register = |kind| number(kind).is_some_and(is_register);
    Some(match name {
        "meta" if in_register(NFTA_META_DREG) => Expression::Meta(number(NFTA_META_KEY)?),
        "payload" if in_register(NFTA_PAYLOAD_DREG) => Expression::Payload {
            base: number(NFTA_PAYLOAD_BASE)?,
            offset: number(NFTA_PAYLOAD_OFFSET)?,
            length: number(NFTA_PAYLOAD_LEN)?,
        },
        "byteorder"
            if number(NFTA_BYTEORDER_OP)? == libc::NFT_BYTEORDER_HTON as u32
                && (number(NFTA_BYTEORDER_LEN)?, number(NFTA_BYTEORDER_SIZE)?) == (4, 4) =>
        {
            Expression::HostToNetwork32
        }
        "cmp" => {
            let bytes = find(find(data, NFTA_CMP_DATA)?, NFTA_DATA_VALUE)?.to_vec();
            match number(NFTA_CMP_OP)? as libc::c_int {
                libc::NFT_CMP_EQ => Expression::Equal(bytes),
                libc::NFT_CMP_NEQ => Expression::NotEqual(bytes),
                _ => return None,
            }
        }
        // with flags it is inverted
        "lookup" if number(NFTA_LOOKUP_FLAGS).unwrap_or(0) == 0 => Expression::InSet(find_text(data, NFTA_LOOKUP_SET)?),
        "redir" if in_register(NFTA_REDIR_REG_PROTO_MIN) => Expression::Redirect(loaded_port.take()?),
        "immediate" => {
            let verdict = find(find(data, NFTA_IMMEDIATE_DATA)?, NFTA_DATA_VERDICT)?;
            match find_u32(verdict, NFTA_VERDICT_CODE)? as libc::c_int {
                libc::NFT_RETURN => Expression::Return,
                libc::NFT_JUMP => Expression::Jump(text(find(verdict, NFTA_VERDICT_CHAIN)?)),
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// The kernel may answer with the number of register 1's first quarter.
fn is_register(number: u32) -> bool {
    number == REGISTER || number == libc::NFT_REG32_00 as u32
}

/// What an `immediate` loads, if it is a port.
fn port(data: &[u8]) -> Option<u16> {
    let value = find(find(data, NFTA_IMMEDIATE_DATA)?, NFTA_DATA_VALUE)?;
    Some(u16::from_be_bytes(value.try_into().ok()?))
}

fn put(list: &mut Attributes, name: &str, data: impl FnOnce(&mut Attributes)) {
    list.nest(NFTA_LIST_ELEM, |expression| {
        expression.put_text(NFTA_EXPR_NAME, name).nest(NFTA_EXPR_DATA, data);
    });
}

fn compare(list: &mut Attributes, operation: libc::c_int, bytes: &[u8]) {
    put(list, "cmp", |data| {
        data.put_u32(NFTA_CMP_SREG, REGISTER).put_u32(NFTA_CMP_OP, operation as u32);
        data.nest(NFTA_CMP_DATA, |value| {
            value.put(NFTA_DATA_VALUE, bytes);
        });
    });
}

fn verdict(list: &mut Attributes, code: libc::c_int, chain: Option<&str>) {
    put(list, "immediate", |data| {
        data.put_u32(NFTA_IMMEDIATE_DREG, VERDICT_REGISTER).nest(NFTA_IMMEDIATE_DATA, |value| {
            value.nest(NFTA_DATA_VERDICT, |verdict| {
                verdict.put_u32(NFTA_VERDICT_CODE, code as u32);
                if let Some(chain) = chain {
                    verdict.put_text(NFTA_VERDICT_CHAIN, chain);
                }
            });
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<Expression> {
        vec![
            Expression::Meta(libc::NFT_META_SKUID as u32),
            Expression::HostToNetwork32,
            Expression::Payload { base: 1, offset: 12, length: 4 },
            Expression::Equal(vec![127, 0, 0, 6]),
            Expression::NotEqual(vec![1; 16]),
            Expression::InSet("own_ports".into()),
            Expression::Jump("inbound".into()),
            Expression::Return,
            Expression::Redirect(15006),
            Expression::Foreign("counter".into()),
        ]
    }

    fn encoded(expressions: &[Expression]) -> Attributes {
        let mut list = Attributes::new();
        expressions.iter().for_each(|expression| expression.encode(&mut list));
        list
    }

    #[test]
    fn expressions_come_back_as_they_went() {
        assert_eq!(Expression::decode_all(encoded(&every_kind()).bytes()), every_kind());
    }

    /// As `nft --debug=mnl` shows it for `ip saddr 127.0.0.6` (nft 1.0.6).
    #[test]
    fn bytes_are_those_that_nft_sends() {
        #[rustfmt::skip]
        let payload = [
            52, 0, 1, 0x80,
                12, 0, 1, 0, b'p', b'a', b'y', b'l', b'o', b'a', b'd', 0,
                36, 0, 2, 0x80,
                    8, 0, 1, 0, 0, 0, 0, 1,   8, 0, 2, 0, 0, 0, 0, 1,
                    8, 0, 3, 0, 0, 0, 0, 12,   8, 0, 4, 0, 0, 0, 0, 4,
        ];
        #[rustfmt::skip]
        let compare = [
            44, 0, 1, 0x80,
                8, 0, 1, 0, b'c', b'm', b'p', 0,
                32, 0, 2, 0x80,
                    8, 0, 1, 0, 0, 0, 0, 1,   8, 0, 2, 0, 0, 0, 0, 0,   12, 0, 3, 0x80, 8, 0, 1, 0, 127, 0, 0, 6,
        ];
        let ours =
            encoded(&[Expression::Payload { base: 1, offset: 12, length: 4 }, Expression::Equal(vec![127, 0, 0, 6])]);
        assert_eq!(ours.bytes(), [&payload[..], &compare].concat());
    }

    #[test]
    fn what_others_wrote_is_foreign_and_what_is_cut_short_does_not_panic() {
        let bytes = encoded(&every_kind());
        for end in 0..bytes.bytes().len() {
            assert!(Expression::decode_all(&bytes.bytes()[..end]).len() < every_kind().len(), "{end}");
        }
        let only_loaded = &encoded(&[Expression::Redirect(80)]);
        let (_, first) = attributes(only_loaded.bytes()).next().unwrap();
        let mut list = Attributes::new();
        list.put(NFTA_LIST_ELEM, first);
        assert_eq!(Expression::decode_all(list.bytes()), [Expression::Foreign("immediate".into())]);
    }
}
