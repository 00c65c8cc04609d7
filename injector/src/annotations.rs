//! The annotations `outrigger.dev/<key>`: one table, from which parsing and help come. Each may stand on the namespace
//! (the default for its Pods) and on the Pod (which wins), key by key.

use ipnet::IpNet;
use mesh_config::capture::parse_cidr;
use mesh_config::mesh::{Resources, is_quantity};
use mesh_config::{Capture, ContainerPort, PortSet, UidSet, names, ranges};

mod nearest;

/// One key.
#[derive(Debug)]
pub struct Key {
    /// What follows `outrigger.dev/`.
    pub name: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    /// What it means where nobody gives it.
    pub default: &'static str,
    field: Field,
}

/// What a key sets, and with it how its value is written.
#[derive(Debug)]
enum Field {
    Ports(fn(&mut Capture) -> &mut PortSet),
    Cidrs(fn(&mut Capture) -> &mut Vec<IpNet>),
    Uids(fn(&mut Capture) -> &mut UidSet),
    Quantity(fn(&mut Resources) -> &mut String),
}

/// Every key that is understood.
pub const KEYS: [Key; 9] = [
    Key {
        name: "exclude-inbound-ports",
        help: "ports of the Pod that bypass the proxy",
        default: "none",
        field: Field::Ports(|capture| &mut capture.exclude_inbound_ports),
    },
    Key {
        name: "exclude-inbound-cidrs",
        help: "callers whose connections bypass the proxy",
        default: "none",
        field: Field::Cidrs(|capture| &mut capture.exclude_inbound_cidrs),
    },
    Key {
        name: "exclude-outbound-ports",
        help: "destination ports that are reached without the proxy",
        default: "none",
        field: Field::Ports(|capture| &mut capture.exclude_outbound_ports),
    },
    Key {
        name: "exclude-outbound-cidrs",
        help: "destinations that are reached without the proxy",
        default: "none",
        field: Field::Cidrs(|capture| &mut capture.exclude_outbound_cidrs),
    },
    Key {
        name: "exclude-outbound-uids",
        help: "users whose connections bypass the proxy",
        default: "none",
        field: Field::Uids(|capture| &mut capture.exclude_outbound_uids),
    },
    Key {
        name: "proxy-cpu-request",
        help: "CPU that the scheduler sets aside for the proxy; without it Kubernetes takes the limit",
        default: "proxy.resources.cpuRequest of mesh.yaml (100m)",
        field: Field::Quantity(|resources| &mut resources.cpu_request),
    },
    Key {
        name: "proxy-cpu-limit",
        help: "CPU that the proxy may use at most",
        default: "proxy.resources.cpuLimit of mesh.yaml (500m)",
        field: Field::Quantity(|resources| &mut resources.cpu_limit),
    },
    Key {
        name: "proxy-memory-request",
        help: "memory that the scheduler sets aside for the proxy; without it Kubernetes takes the limit",
        default: "proxy.resources.memoryRequest of mesh.yaml (128Mi)",
        field: Field::Quantity(|resources| &mut resources.memory_request),
    },
    Key {
        name: "proxy-memory-limit",
        help: "memory beyond which the proxy is killed and started again",
        default: "proxy.resources.memoryLimit of mesh.yaml (512Mi)",
        field: Field::Quantity(|resources| &mut resources.memory_limit),
    },
];

/// Keys that aren't settings: read elsewhere, or written by us.
const OTHERS: [&str; 3] = [names::LABEL_INJECT, names::ANNOTATION_STATUS, "outrigger.dev/revision"];

/// Where an annotation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Namespace,
    Pod,
}

/// What the annotations change.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub capture: Capture,
    pub resources: Resources,
    /// For names in port lists.
    pub ports: &'a [ContainerPort],
}

impl Key {
    /// The whole annotation.
    pub fn annotation(&self) -> String {
        format!("{}/{}", names::DOMAIN, self.name)
    }

    /// How a value is written, for help and messages.
    pub const fn syntax(&self) -> &'static str {
        match self.field {
            Field::Ports(_) => {
                "ports, ranges, names of container ports, or *: 80,8000-8100,metrics; a leading + appends to the namespace's list"
            }
            Field::Cidrs(_) => "networks: 10.0.0.0/8,fd00::/8; a leading + appends to the namespace's list",
            Field::Uids(_) => "user ids and ranges: 0,1000-1010; a leading + appends to the namespace's list",
            Field::Quantity(_) => "a quantity: 250m, 1 or 128Mi; none removes the field",
        }
    }

    /// Takes a value over into the draft, or says what is wrong with it.
    pub(crate) fn apply(&self, text: &str, scope: Scope, draft: &mut Draft<'_>) -> Result<(), String> {
        let (appends, items) = text.trim().strip_prefix('+').map_or((false, text), |rest| (true, rest));
        match self.field {
            Field::Ports(field) => {
                let read = parse_ports(items, scope, draft.ports)?;
                let list = field(&mut draft.capture);
                *list = if appends { list.union(&read) } else { read };
            }
            Field::Uids(field) => {
                let read = each(items, |item| {
                    item.parse::<UidSet>().map_err(|error: ranges::NotRanges| {
                        format!("'{}' is not a user id or a range of them; write for example 0,1000-1010", error.item)
                    })
                })?;
                let read = read.iter().fold(UidSet::default(), |all, one| all.union(one));
                let list = field(&mut draft.capture);
                *list = if appends { list.union(&read) } else { read };
            }
            Field::Cidrs(field) => {
                let read = each(items, |item| parse_cidr(item).map_err(|error| error.to_string()))?;
                let list = field(&mut draft.capture);
                if !appends {
                    list.clear();
                }
                for cidr in read {
                    if !list.contains(&cidr) {
                        list.push(cidr);
                    }
                }
            }
            Field::Quantity(field) => {
                *field(&mut draft.resources) = match text.trim() {
                    "none" => String::new(),
                    quantity if is_quantity(quantity) => quantity.to_owned(),
                    wrong => {
                        return Err(format!("'{wrong}' is not a quantity; write for example 250m or 128Mi, or none"));
                    }
                };
            }
        }
        Ok(())
    }
}

/// The items of a comma-separated list; the empty text has none.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(move |_| !text.trim().is_empty())
}

/// Every item read, or all that is wrong with the list.
fn each<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for item in split(text) {
        match read(item) {
            Ok(item) => all.push(item),
            Err(message) => wrong.push(message),
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong.join("; ")) }
}

fn parse_ports(text: &str, scope: Scope, ports: &[ContainerPort]) -> Result<PortSet, String> {
    let sets = each(text, |item| parse_port(item, scope, ports))?;
    Ok(sets.iter().fold(PortSet::default(), |all, one| all.union(one)))
}

/// A name on a namespace needn't exist in every Pod; on a Pod it must, or it is a typing error.
fn parse_port(item: &str, scope: Scope, ports: &[ContainerPort]) -> Result<PortSet, String> {
    if item == "*" {
        return Ok(PortSet::new([(1, u16::MAX)]));
    }
    if item.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        let named = ports.iter().filter(|port| port.name.as_deref() == Some(item));
        if scope == Scope::Pod && named.clone().next().is_none() {
            return Err(no_such_port(item, ports));
        }
        return Ok(PortSet::of(named.filter(|port| port.is_tcp()).map(|port| port.port)));
    }
    // on its own, the empty text would be the empty list
    item.parse().ok().filter(|_| !item.is_empty()).ok_or_else(|| {
        format!("'{item}' is not a port; write numbers from 1 to 65535, ranges, names of container ports, or *")
    })
}

fn no_such_port(name: &str, ports: &[ContainerPort]) -> String {
    let names: Vec<_> = ports.iter().filter_map(|port| port.name.as_deref()).collect();
    match names.is_empty() {
        true => format!("no container port is named '{name}': the Pod names none"),
        false => format!("no container port is named '{name}'; the Pod has {}", names.join(", ")),
    }
}

/// A warning for an annotation of our domain that nobody reads.
pub(crate) fn unknown(annotation: &str) -> Option<String> {
    let key = annotation.strip_prefix(names::DOMAIN)?.strip_prefix('/')?;
    if OTHERS.contains(&annotation) || KEYS.iter().any(|known| known.name == key) {
        return None;
    }
    let others = OTHERS.iter().filter_map(|known| known.split('/').next_back());
    let meant = nearest::nearest(key, KEYS.iter().map(|known| known.name).chain(others));
    Some(match meant {
        Some(meant) => format!("annotation {annotation} is unknown, and ignored; did you mean {meant}?"),
        None => format!("annotation {annotation} is unknown, and ignored"),
    })
}

#[cfg(test)]
mod tests;
