//! Sends a program as one transaction: the kernel holds either all of the new table or all of what was there. The table
//! is created (so that it surely exists), deleted and created again, hence any remains of an earlier try are gone.

use super::interval::{Element, to_elements};
use super::kernel::*;
use super::program::{Chain, Key, Program, Rule, Set};
use super::{TABLE, expression::Expression};
use crate::netlink::{Attributes, Refused, Socket, attributes::MAX_DATA, frame};
use std::{fmt, io};

/// One frame of a transaction, for whoever reads an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The transaction as such.
    Batch,
    Table,
    Set(String),
    /// `hooked` chains are of type nat.
    Chain {
        name: String,
        hooked: bool,
    },
    Elements(String),
    Rule {
        chain: String,
        number: usize,
        redirects: bool,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Batch => f.write_str("the transaction"),
            Step::Table => write!(f, "table {TABLE}"),
            Step::Set(name) => write!(f, "set {name}"),
            Step::Chain { name, .. } => write!(f, "chain {name}"),
            Step::Elements(name) => write!(f, "the elements of set {name}"),
            Step::Rule { chain, number, .. } => write!(f, "rule {number} of chain {chain}"),
        }
    }
}

/// Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NotLoaded {
    #[error("netlink: {0}")]
    Netlink(#[from] io::Error),
    #[error("{step}: {refused}")]
    Refused { step: Step, refused: Refused },
}

/// Replaces our table.
pub fn load(socket: &mut Socket, program: &Program) -> Result<(), NotLoaded> {
    transaction(program).commit(socket)
}

/// Removes our table, whether it is there or not; others' stay.
pub fn remove(socket: &mut Socket) -> Result<(), NotLoaded> {
    removal().commit(socket)
}

struct Transaction {
    bytes: Vec<u8>,
    steps: Vec<Step>,
}

/// `struct nfgenmsg`: family, version, resource id (big endian).
fn generic_header(family: libc::c_int, resource: libc::c_int) -> [u8; 4] {
    let [high, low] = (resource as u16).to_be_bytes();
    [family as u8, libc::NFNETLINK_V0 as u8, high, low]
}

/// For requests about `inet` tables.
pub(super) const INET_HEADER: [u8; 4] = [libc::NFPROTO_INET as u8, 0, 0, 0];

/// A message type of nf_tables.
pub(super) fn message(kind: libc::c_int) -> u16 {
    (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16
}

fn removal() -> Transaction {
    let mut transaction = Transaction::begin();
    transaction.table(libc::NFT_MSG_NEWTABLE);
    transaction.table(libc::NFT_MSG_DELTABLE);
    transaction
}

fn transaction(program: &Program) -> Transaction {
    let mut transaction = removal();
    transaction.table(libc::NFT_MSG_NEWTABLE);
    for (set, id) in program.sets.iter().zip(1..) {
        transaction.set(set, id);
    }
    program.chains.iter().for_each(|chain| transaction.chain(chain));
    for (set, id) in program.sets.iter().zip(1..) {
        transaction.elements(set, id);
    }
    for chain in &program.chains {
        for (rule, number) in chain.rules.iter().zip(1..) {
            transaction.rule(chain, rule, number);
        }
    }
    transaction
}

impl Transaction {
    fn begin() -> Self {
        let mut bytes = Vec::new();
        Self::mark(&mut bytes, libc::NFNL_MSG_BATCH_BEGIN);
        Transaction { bytes, steps: Vec::new() }
    }

    fn mark(bytes: &mut Vec<u8>, kind: libc::c_int) {
        let header = generic_header(libc::AF_UNSPEC, libc::NFNL_SUBSYS_NFTABLES);
        frame::put(bytes, kind as u16, 0, 0, &[&header]);
    }

    fn commit(mut self, socket: &mut Socket) -> Result<(), NotLoaded> {
        Self::mark(&mut self.bytes, libc::NFNL_MSG_BATCH_END);
        let acknowledged = self.steps.len() as u32;
        socket.batch(&self.bytes, acknowledged)?.map_err(|(sequence, refused)| {
            let index = (sequence as usize).checked_sub(1);
            let step = index.and_then(|index| self.steps.get(index)).cloned().unwrap_or(Step::Batch);
            NotLoaded::Refused { step, refused }
        })
    }

    fn push(&mut self, step: Step, kind: libc::c_int, flags: libc::c_int, attributes: &Attributes) {
        self.steps.push(step);
        let flags = (libc::NLM_F_ACK | flags) as u16;
        frame::put(&mut self.bytes, message(kind), flags, self.steps.len() as u32, &[&INET_HEADER, attributes.bytes()]);
    }

    fn table(&mut self, kind: libc::c_int) {
        let mut table = Attributes::new();
        table.put_text(NFTA_TABLE_NAME, TABLE);
        let flags = if kind == libc::NFT_MSG_NEWTABLE { libc::NLM_F_CREATE } else { 0 };
        self.push(Step::Table, kind, flags, &table);
    }

    fn set(&mut self, set: &Set, id: u32) {
        let Some(key) = set.key else { return };
        let (shown_as, order) = match key {
            Key::Port => (TYPE_INET_SERVICE, BYTEORDER_BIG_ENDIAN),
            Key::Ipv4 => (TYPE_IPADDR, BYTEORDER_BIG_ENDIAN),
            Key::Ipv6 => (TYPE_IP6ADDR, BYTEORDER_BIG_ENDIAN),
            Key::Uid => (TYPE_UID, BYTEORDER_HOST_ENDIAN),
        };
        let mut attributes = Attributes::new();
        attributes.put_text(NFTA_SET_TABLE, TABLE).put_text(NFTA_SET_NAME, &set.name);
        attributes.put_u32(NFTA_SET_FLAGS, libc::NFT_SET_INTERVAL as u32);
        attributes.put_u32(NFTA_SET_KEY_TYPE, shown_as).put_u32(NFTA_SET_KEY_LEN, key.length() as u32);
        attributes.put_u32(NFTA_SET_ID, id);
        attributes.put(NFTA_SET_USERDATA, &user_data(NFTNL_UDATA_SET_KEYBYTEORDER, &order.to_ne_bytes()));
        self.push(Step::Set(set.name.clone()), libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE, &attributes);
    }

    fn elements(&mut self, set: &Set, id: u32) {
        let mut list = Attributes::new();
        for element in &to_elements(&set.intervals) {
            let encoded = encode(element);
            if list.bytes().len() + encoded.bytes().len() + 4 > MAX_DATA {
                self.element_list(set, id, &std::mem::take(&mut list));
            }
            list.put(NFTA_LIST_ELEM | libc::NLA_F_NESTED as u16, encoded.bytes());
        }
        self.element_list(set, id, &list);
    }

    fn element_list(&mut self, set: &Set, id: u32, list: &Attributes) {
        let mut attributes = Attributes::new();
        attributes.put_text(NFTA_SET_ELEM_LIST_TABLE, TABLE).put_text(NFTA_SET_ELEM_LIST_SET, &set.name);
        attributes.put_u32(NFTA_SET_ELEM_LIST_SET_ID, id);
        attributes.put(NFTA_SET_ELEM_LIST_ELEMENTS | libc::NLA_F_NESTED as u16, list.bytes());
        self.push(Step::Elements(set.name.clone()), libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE, &attributes);
    }

    fn chain(&mut self, chain: &Chain) {
        let mut attributes = Attributes::new();
        attributes.put_text(NFTA_CHAIN_TABLE, TABLE).put_text(NFTA_CHAIN_NAME, &chain.name);
        if let Some(hook) = &chain.hook {
            attributes.nest(NFTA_CHAIN_HOOK, |inner| {
                inner.put_u32(NFTA_HOOK_HOOKNUM, hook.number).put_u32(NFTA_HOOK_PRIORITY, hook.priority as u32);
            });
            attributes.put_u32(NFTA_CHAIN_POLICY, hook.policy).put_text(NFTA_CHAIN_TYPE, &hook.kind);
        }
        let step = Step::Chain { name: chain.name.clone(), hooked: chain.hook.is_some() };
        self.push(step, libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, &attributes);
    }

    fn rule(&mut self, chain: &Chain, rule: &Rule, number: usize) {
        let mut attributes = Attributes::new();
        attributes.put_text(NFTA_RULE_TABLE, TABLE).put_text(NFTA_RULE_CHAIN, &chain.name);
        attributes.nest(NFTA_RULE_EXPRESSIONS, |list| rule.expressions.iter().for_each(|one| one.encode(list)));
        if !rule.comment.is_empty() {
            let text = [rule.comment.as_bytes(), b"\0"].concat();
            attributes.put(NFTA_RULE_USERDATA, &user_data(NFTNL_UDATA_RULE_COMMENT, &text));
        }
        let redirects = rule.expressions.iter().any(|one| matches!(one, Expression::Redirect(_)));
        let step = Step::Rule { chain: chain.name.clone(), number, redirects };
        self.push(step, libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND, &attributes);
    }
}

fn encode(element: &Element) -> Attributes {
    let mut attributes = Attributes::new();
    if element.end {
        attributes.put_u32(NFTA_SET_ELEM_FLAGS, libc::NFT_SET_ELEM_INTERVAL_END as u32);
    }
    attributes.nest(NFTA_SET_ELEM_KEY, |key| {
        key.put(NFTA_DATA_VALUE, &element.key);
    });
    if element.open {
        let flags = NFTNL_SET_ELEM_F_INTERVAL_OPEN.to_ne_bytes();
        attributes.put(NFTA_SET_ELEM_USERDATA, &user_data(NFTNL_UDATA_SET_ELEM_FLAGS, &flags));
    }
    attributes
}

/// A type, a length, the data: libnftnl's `nftnl_udata`. The kernel keeps it without looking.
fn user_data(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[kind, data.len() as u8], data].concat()
}
