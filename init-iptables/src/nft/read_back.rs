//! Reads our table from the kernel, whoever wrote it. What we would never write comes back as something that differs
//! from all we write; it is never skipped.

use super::TABLE;
use super::expression::Expression;
use super::interval::{Element, from_elements};
use super::kernel::*;
use super::load::{INET_HEADER, message};
use super::program::{Chain, Hook, Key, Program, Rule, Set};
use crate::netlink::attributes::{attributes, text};
use crate::netlink::{Attributes, Socket, find, find_text, find_u32};
use std::io::Result;

/// `None`: there is no such table.
pub fn read_back(socket: &mut Socket) -> Result<Option<Program>> {
    let mut table = Attributes::new();
    table.put_text(NFTA_TABLE_NAME, TABLE);
    let flags = match socket.request(message(libc::NFT_MSG_GETTABLE), &[&INET_HEADER, table.bytes()]) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        answer => find_u32(after_header(&answer?), NFTA_TABLE_FLAGS).unwrap_or(0),
    };
    let mut program = Program { dormant: flags & NFT_TABLE_F_DORMANT != 0, ..Program::default() };
    for answer in list(socket, libc::NFT_MSG_GETSET, NFTA_SET_TABLE, None)? {
        let mut set = set(after_header(&answer));
        set.intervals = read_elements(socket, &set.name)?;
        program.sets.push(set);
    }
    for answer in list(socket, libc::NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE, None)? {
        let mut chain = chain(after_header(&answer));
        chain.rules = read_rules(socket, &chain.name)?;
        program.chains.push(chain);
    }
    Ok(Some(program))
}

/// What a kind of things our table has. Older kernels don't filter, so it is done here again.
fn list(socket: &mut Socket, kind: libc::c_int, of_table: u16, within: Option<(u16, &str)>) -> Result<Vec<Vec<u8>>> {
    let mut filter = Attributes::new();
    filter.put_text(of_table, TABLE);
    if let Some((kind, name)) = within {
        filter.put_text(kind, name);
    }
    let mut answers = socket.dump(message(kind), &[&INET_HEADER, filter.bytes()])?;
    answers.retain(|answer| {
        let is = |kind, name: &str| find_text(after_header(answer), kind).as_deref() == Some(name);
        is(of_table, TABLE) && within.is_none_or(|(kind, name)| is(kind, name))
    });
    Ok(answers)
}

/// Behind `struct nfgenmsg`.
fn after_header(payload: &[u8]) -> &[u8] {
    payload.get(INET_HEADER.len()..).unwrap_or_default()
}

fn set(payload: &[u8]) -> Set {
    let interval = find_u32(payload, NFTA_SET_FLAGS) == Some(libc::NFT_SET_INTERVAL as u32);
    let length = find_u32(payload, NFTA_SET_KEY_LEN);
    let key = match find_u32(payload, NFTA_SET_KEY_TYPE) {
        Some(TYPE_INET_SERVICE) => Some(Key::Port),
        Some(TYPE_IPADDR) => Some(Key::Ipv4),
        Some(TYPE_IP6ADDR) => Some(Key::Ipv6),
        Some(TYPE_UID) => Some(Key::Uid),
        _ => None,
    };
    Set {
        name: find_text(payload, NFTA_SET_NAME).unwrap_or_default(),
        key: key.filter(|key| interval && length == Some(key.length() as u32)),
        intervals: Vec::new(),
    }
}

fn read_elements(socket: &mut Socket, set: &str) -> Result<Vec<super::interval::Interval>> {
    let within = Some((NFTA_SET_ELEM_LIST_SET, set));
    let answers = list(socket, libc::NFT_MSG_GETSETELEM, NFTA_SET_ELEM_LIST_TABLE, within)?;
    let lists = answers.iter().filter_map(|answer| find(after_header(answer), NFTA_SET_ELEM_LIST_ELEMENTS));
    Ok(from_elements(lists.flat_map(attributes).map(|(_, element)| decode(element)).collect()))
}

fn decode(element: &[u8]) -> Element {
    let key = find(element, NFTA_SET_ELEM_KEY).and_then(|key| find(key, NFTA_DATA_VALUE));
    let flags = find_u32(element, NFTA_SET_ELEM_FLAGS).unwrap_or(0);
    let end = flags & libc::NFT_SET_ELEM_INTERVAL_END as u32 != 0;
    // what only nft reads of an element isn't compared
    Element { key: key.unwrap_or_default().into(), end, open: false }
}

fn chain(payload: &[u8]) -> Chain {
    let hook = find(payload, NFTA_CHAIN_HOOK).map(|hook| Hook {
        number: find_u32(hook, NFTA_HOOK_HOOKNUM).unwrap_or(u32::MAX),
        priority: find_u32(hook, NFTA_HOOK_PRIORITY).unwrap_or(0) as i32,
        policy: find_u32(payload, NFTA_CHAIN_POLICY).unwrap_or(u32::MAX),
        kind: find_text(payload, NFTA_CHAIN_TYPE).unwrap_or_default(),
    });
    Chain { name: find_text(payload, NFTA_CHAIN_NAME).unwrap_or_default(), hook, rules: Vec::new() }
}

fn read_rules(socket: &mut Socket, chain: &str) -> Result<Vec<Rule>> {
    let answers = list(socket, libc::NFT_MSG_GETRULE, NFTA_RULE_TABLE, Some((NFTA_RULE_CHAIN, chain)))?;
    Ok(answers.iter().map(|answer| rule(after_header(answer))).collect())
}

fn rule(payload: &[u8]) -> Rule {
    Rule {
        expressions: Expression::decode_all(find(payload, NFTA_RULE_EXPRESSIONS).unwrap_or_default()),
        comment: find(payload, NFTA_RULE_USERDATA).map(comment).unwrap_or_default(),
    }
}

/// Behind the type and the length (libnftnl's `nftnl_udata`).
fn comment(user_data: &[u8]) -> String {
    match user_data {
        [NFTNL_UDATA_RULE_COMMENT, _, data @ ..] => text(data),
        _ => String::new(),
    }
}
