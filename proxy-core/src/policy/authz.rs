//! Who may call what: the rules of one port, compiled, and the judgement of a connection or request. Pure.
//!
//! A policy that wasn't understood closes the port. Then: a Deny that matches wins; else an Allow that matches; else the
//! default. What forwards takes a [`Permit`], and only a judgement makes one, so nothing can be forwarded unjudged.
//!
//! Paths are matched in every way in which an application may read them: see `policy/path.rs`.

use super::path::Readings;
use http::Method;
use ipnet::{IpNet, Ipv4Net};
use mesh_config::Problems;
use mesh_config::proxy::effective::Authorizations;
use mesh_config::proxy::validate::full_match;
use mesh_config::proxy::{From, PathMatch, PathMatchType, Rule as RuleDocument, To, Verdict};
use prometheus_client::metrics::counter::Counter;
use regex::Regex;
use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    ip: IpAddr,
}

impl Caller {
    /// An IPv4-mapped address becomes the IPv4 address that it is.
    pub fn new(ip: IpAddr) -> Caller {
        Caller { ip: ip.to_canonical() }
    }
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    pub port: u16,
    pub method: &'a Method,
    /// The path of the request's URI as it was received, without the query.
    pub path: &'a str,
}

/// The proof that a call was judged and allowed. Only this module makes one; what forwards takes it by value.
#[derive(Debug)]
pub struct Permit {
    by: usize,
}

/// A call that must not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    by: usize,
    /// What said so: `SOURCE/RULE`, `default`, or `closed:SOURCE` (a policy that wasn't understood selects the port).
    pub rule: Arc<str>,
}

/// The rules of one port, compiled.
#[derive(Debug)]
pub struct Authz {
    closed: bool,
    deny: Vec<Rule>,
    allow: Vec<Rule>,
    default: Verdict,
    deciders: Vec<Decider>,
}

/// What can decide a call: the default (or that the port is closed) is the first, the rules follow.
#[derive(Debug)]
pub(crate) struct Decider {
    pub(crate) name: Arc<str>,
    pub(crate) decision: Verdict,
    /// Its counter, once it has been asked for: telemetry keeps it here so that counting costs no lookup.
    pub(crate) counter: OnceLock<Counter>,
}

const DEFAULT: usize = 0;

#[derive(Debug)]
struct Rule {
    decider: usize,
    from: Vec<Callers>,
    to: Vec<Operations>,
}

#[derive(Debug)]
struct Callers {
    ip_blocks: Vec<IpNet>,
    not_ip_blocks: Vec<IpNet>,
}

#[derive(Debug)]
struct Operations {
    ports: Vec<u16>,
    methods: Vec<Method>,
    paths: Vec<Path>,
}

#[derive(Debug)]
enum Path {
    Exact(String),
    /// Without its last `/`.
    Prefix(String),
    Expression(Regex),
}

/// A request, or an opaque connection, as the rules see it.
struct Call<'a> {
    ip: IpAddr,
    port: u16,
    http: Option<Http<'a>>,
}

struct Http<'a> {
    method: &'a Method,
    path: &'a str,
    /// Made when the first rule asks.
    readings: OnceCell<Readings<'a>>,
}

impl Authz {
    pub(crate) fn new(authorizations: &Authorizations, problems: &mut Problems) -> Authz {
        let default = authorizations.default();
        let (name, decision) = match &authorizations.closed {
            Some(source) => (format!("closed:{source}"), Verdict::Deny),
            None => ("default".into(), default),
        };
        let mut authz = Authz {
            closed: authorizations.closed.is_some(),
            deny: Vec::new(),
            allow: Vec::new(),
            default,
            deciders: vec![Decider::new(&name, decision)],
        };
        for (source, rule) in &authorizations.rules {
            if rule.never && rule.action == Verdict::Allow {
                // matches nothing; that it is there has made the default Deny
                continue;
            }
            let name = format!("{source}/{}", rule.name);
            let decider = authz.deciders.len();
            authz.deciders.push(Decider::new(&name, rule.action));
            let compiled = Rule::new(decider, &name, rule, problems);
            match rule.action {
                Verdict::Deny => authz.deny.push(compiled),
                Verdict::Allow => authz.allow.push(compiled),
            }
        }
        authz
    }

    /// Whether no call can be denied: the usual case.
    pub fn allows_everything(&self) -> bool {
        !self.closed && self.deny.is_empty() && self.default == Verdict::Allow
    }

    /// Judges an opaque connection: an Allow rule with HTTP fields doesn't match, a Deny rule matches by its other
    /// fields. Not for a connection that is known to carry HTTP: there each request is judged, by
    /// [`request`](Self::request), which alone sees methods and paths.
    pub fn connection(&self, caller: &Caller, port: u16) -> Result<Permit, Denied> {
        self.judge(&Call { ip: caller.ip, port, http: None })
    }

    /// Judges a request.
    pub fn request(&self, caller: &Caller, operation: &Operation<'_>) -> Result<Permit, Denied> {
        let Operation { port, method, path } = *operation;
        self.judge(&Call { ip: caller.ip, port, http: Some(Http { method, path, readings: OnceCell::new() }) })
    }

    fn judge(&self, call: &Call<'_>) -> Result<Permit, Denied> {
        if self.closed {
            return self.denied(DEFAULT);
        }
        if let Some(rule) = self.deny.iter().find(|rule| rule.matches(Verdict::Deny, call)) {
            return self.denied(rule.decider);
        }
        match (self.allow.iter().find(|rule| rule.matches(Verdict::Allow, call)), self.default) {
            (Some(rule), _) => Ok(Permit { by: rule.decider }),
            (None, Verdict::Allow) => Ok(Permit { by: DEFAULT }),
            (None, Verdict::Deny) => self.denied(DEFAULT),
        }
    }

    fn denied(&self, by: usize) -> Result<Permit, Denied> {
        Err(Denied { by, rule: Arc::clone(&self.deciders[by].name) })
    }

    /// Whether any policy is behind it: what nobody asked for isn't counted.
    pub(crate) fn says_something(&self) -> bool {
        self.closed || self.default == Verdict::Deny || self.deciders.len() > 1
    }

    /// What decided; `None` where the decision is of other rules than these.
    pub(crate) fn decider(&self, decision: &Result<Permit, Denied>) -> Option<&Decider> {
        match decision {
            Ok(permit) => self.deciders.get(permit.by),
            Err(denied) => self.deciders.get(denied.by),
        }
    }
}

impl Decider {
    fn new(name: &str, decision: Verdict) -> Decider {
        Decider { name: name.into(), decision, counter: OnceLock::new() }
    }
}

impl Rule {
    fn new(decider: usize, name: &str, rule: &RuleDocument, problems: &mut Problems) -> Rule {
        Rule {
            decider,
            from: rule.from.iter().map(Callers::new).collect(),
            to: rule.to.iter().map(|to| Operations::new(name, to, problems)).collect(),
        }
    }

    fn matches(&self, action: Verdict, call: &Call<'_>) -> bool {
        (self.from.is_empty() || self.from.iter().any(|from| from.match_ip(call.ip)))
            && (self.to.is_empty() || self.to.iter().any(|to| to.matches(action, call)))
    }
}

impl Callers {
    fn new(from: &From) -> Callers {
        let canonical = |blocks: &[IpNet]| blocks.iter().map(|block| canonical(*block)).collect();
        Callers { ip_blocks: canonical(&from.ip_blocks), not_ip_blocks: canonical(&from.not_ip_blocks) }
    }

    fn match_ip(&self, ip: IpAddr) -> bool {
        let within = |blocks: &[IpNet]| blocks.iter().any(|block| block.contains(&ip));
        (self.ip_blocks.is_empty() || within(&self.ip_blocks)) && !within(&self.not_ip_blocks)
    }
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`: callers' addresses are never in the mapped form.
fn canonical(block: IpNet) -> IpNet {
    match (block.addr().to_canonical(), block.prefix_len().checked_sub(96)) {
        (IpAddr::V4(address), Some(length)) if block.addr().is_ipv6() => {
            Ipv4Net::new(address, length).map_or(block, IpNet::V4)
        }
        _ => block,
    }
}

impl Operations {
    fn new(name: &str, to: &To, problems: &mut Problems) -> Operations {
        let method = |method: &String| Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string());
        let mut ok = |result: Result<Method, String>| result.map_err(|error| problems.add(name, error)).ok();
        let methods = to.methods.iter().filter_map(|text| ok(method(text))).collect();
        let paths = to.paths.iter().filter_map(|path| Path::new(name, path, problems)).collect();
        Operations { ports: to.ports.clone(), methods, paths }
    }

    fn matches(&self, action: Verdict, call: &Call<'_>) -> bool {
        let port = self.ports.is_empty() || self.ports.contains(&call.port);
        let has_http_fields = !self.methods.is_empty() || !self.paths.is_empty();
        port && match (&call.http, action) {
            (Some(http), _) => {
                (self.methods.is_empty() || self.methods.contains(http.method))
                    && (self.paths.is_empty() || self.match_path(action, http))
            }
            // nobody can know whether it is what the rule is about
            (None, Verdict::Allow) => !has_http_fields,
            (None, Verdict::Deny) => true,
        }
    }

    fn match_path(&self, action: Verdict, http: &Http<'_>) -> bool {
        let readings = http.readings.get_or_init(|| Readings::new(http.path));
        let any_of_ours = |path: &str| self.paths.iter().any(|wanted| wanted.matches(path));
        match action {
            Verdict::Deny => readings.any(any_of_ours),
            Verdict::Allow => readings.all(any_of_ours),
        }
    }
}

impl Path {
    fn new(name: &str, path: &PathMatch, problems: &mut Problems) -> Option<Path> {
        Some(match path.kind {
            PathMatchType::Exact => Path::Exact(path.value.clone()),
            PathMatchType::PathPrefix => Path::Prefix(path.value.strip_suffix('/').unwrap_or(&path.value).to_owned()),
            PathMatchType::RegularExpression => match full_match(&path.value) {
                Ok(expression) => Path::Expression(expression),
                Err(error) => {
                    problems.add(name, error);
                    return None;
                }
            },
        })
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Path::Exact(wanted) => wanted == path,
            Path::Prefix(wanted) => {
                path.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Path::Expression(wanted) => wanted.is_match(path),
        }
    }
}

#[cfg(test)]
mod tests;
