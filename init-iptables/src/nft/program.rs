//! Our table as the kernel holds it: what is sent and what is read back are values of the same type, so that they can
//! be compared.

use super::expression::Expression;
use super::interval::Interval;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// `NFT_TABLE_F_DORMANT`: the rules are there and do nothing.
    pub dormant: bool,
    pub sets: Vec<Set>,
    pub chains: Vec<Chain>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    /// Unknown where somebody else put a set into our table.
    pub key: Option<Key>,
    /// Sorted, disjoint, not adjacent.
    pub intervals: Vec<Interval>,
}

/// What a set's keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Port,
    Ipv4,
    Ipv6,
    Uid,
}

impl Key {
    pub const ALL: [Key; 4] = [Key::Port, Key::Ipv4, Key::Ipv6, Key::Uid];

    pub fn length(self) -> usize {
        match self {
            Key::Port => 2,
            Key::Ipv4 | Key::Uid => 4,
            Key::Ipv6 => 16,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub name: String,
    /// Where packets enter it; `None`: by a jump alone.
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

/// Where and how packets enter a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `NFTA_HOOK_HOOKNUM`
    pub number: u32,
    /// `NFTA_HOOK_PRIORITY`
    pub priority: i32,
    /// What happens to packets that no rule decides.
    pub policy: u32,
    /// `nat`: only the first packet of a connection comes by.
    pub kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub expressions: Vec<Expression>,
    pub comment: String,
}

impl Program {
    pub fn rules(&self) -> usize {
        self.chains.iter().map(|chain| chain.rules.len()).sum()
    }

    pub fn intervals(&self) -> usize {
        self.sets.iter().map(|set| set.intervals.len()).sum()
    }

    /// In what the kernel's table differs from this one, in order; empty: in nothing.
    pub fn differences(&self, kernel: &Program) -> Vec<String> {
        let mut all = Vec::new();
        if kernel.dormant {
            all.push("the table is switched off (dormant)".to_owned());
        }
        let chains = kernel.chains.iter().map(|chain| chain.name.as_str());
        extra("chain", self.chains.iter().map(|chain| chain.name.as_str()), chains, &mut all);
        let sets = kernel.sets.iter().map(|set| set.name.as_str());
        extra("set", self.sets.iter().map(|set| set.name.as_str()), sets, &mut all);
        for want in &self.chains {
            if let Some(got) = kernel.chains.iter().find(|got| got.name == want.name) {
                want.differences(got, &mut all);
            }
        }
        for want in &self.sets {
            let got = kernel.sets.iter().find(|got| got.name == want.name);
            if got.is_some_and(|got| got != want) {
                all.push(format!("set {}: it holds other keys", want.name));
            }
        }
        all
    }
}

impl Chain {
    fn differences(&self, kernel: &Chain, all: &mut Vec<String>) {
        let name = &self.name;
        if self.hook != kernel.hook {
            all.push(format!("chain {name}: it is hooked to {:?} instead of {:?}", kernel.hook, self.hook));
        }
        if self.rules.len() != kernel.rules.len() {
            all.push(format!("chain {name}: {} rules instead of {}", kernel.rules.len(), self.rules.len()));
        }
        for (number, (want, got)) in self.rules.iter().zip(&kernel.rules).enumerate() {
            if want != got {
                all.push(format!("chain {name}, rule {}: {got:?} instead of {want:?}", number + 1));
            }
        }
    }
}

/// Names that are missing in the kernel, or too many there.
fn extra<'a>(
    what: &str,
    want: impl Iterator<Item = &'a str> + Clone,
    got: impl Iterator<Item = &'a str> + Clone,
    all: &mut Vec<String>,
) {
    all.extend(
        want.clone()
            .filter(|name| !got.clone().any(|other| other == *name))
            .map(|name| format!("{what} {name} is missing")),
    );
    all.extend(
        got.filter(|name| !want.clone().any(|other| other == *name)).map(|name| format!("{what} {name} is not ours")),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Program {
        let chain = |name: &str, hook| Chain {
            name: name.into(),
            hook,
            rules: vec![
                Rule { expressions: vec![Expression::Return], comment: "a".into() },
                Rule { expressions: vec![Expression::Redirect(1)], comment: String::new() },
            ],
        };
        let interval = Interval { first: vec![0, 1], last: vec![0, 2] };
        Program {
            dormant: false,
            sets: vec![Set { name: "s".into(), key: Some(Key::Port), intervals: vec![interval] }],
            chains: vec![
                chain("entry", Some(Hook { number: 0, priority: -100, policy: 1, kind: "nat".into() })),
                chain("inner", None),
            ],
        }
    }

    #[test]
    fn each_kind_of_difference_is_named() {
        let changed = |change: fn(&mut Program)| {
            let mut other = program();
            change(&mut other);
            program().differences(&other)
        };
        assert_eq!(changed(|_| ()), Vec::<String>::new());
        assert_eq!(changed(|p| p.dormant = true), ["the table is switched off (dormant)"]);
        assert_eq!(changed(|p| drop(p.chains.pop())), ["chain inner is missing"]);
        assert_eq!(changed(|p| p.sets[0].name = "t".into()), ["set s is missing", "set t is not ours"]);
        assert_eq!(changed(|p| p.sets[0].intervals[0].last = vec![0, 3]), ["set s: it holds other keys"]);
        assert_eq!(changed(|p| drop(p.chains[0].rules.pop())), ["chain entry: 1 rules instead of 2"]);
        assert_eq!(
            changed(|p| p.chains[0].hook = None),
            ["chain entry: it is hooked to None instead of \
             Some(Hook { number: 0, priority: -100, policy: 1, kind: \"nat\" })"]
        );
        assert_eq!(changed(|p| p.chains[1].rules.swap(0, 1)).len(), 2, "order counts");
    }
}
