//! A policy as the operator trusts it: read section by section from raw JSON, never failing as a whole.
//!
//! Nothing is widened by trouble:
//! - A broken `routes`, `protocol` or `telemetry` counts as absent. So do all three where `mode` or `priority` is
//!   broken, because then nobody knows how far they were meant to go; `authorization` is enforced instead.
//! - `authorization` is read rule by rule (`parse/rules.rs`). An Allow rule that isn't fully understood allows nothing,
//!   a Deny rule loses the conditions that weren't understood.
//! - A target that can't be read doesn't make the policy's authorization vanish: [`Reading::unreadable_targets`].
//!
//! What is deliberately absent: whether targets and backends exist, and how policies merge.

mod rules;

use crate::authorization::{AuthRule, Verdict};
use crate::check::Check;
use crate::policy::{Mode, NO_SECTION, ROUTES_WITHOUT_SERVICE};
use crate::problem::{Problem, ProblemKind};
use crate::protocol::ProtocolSection;
use crate::route::Route;
use crate::shape::{self, Shape};
use crate::target::{Target, TargetKind, TargetRef};
use crate::telemetry::Telemetry;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a stored policy says, as far as it can be understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub generation: i64,
    /// Of two policies that meet, the older wins.
    pub created: Option<Time>,
    /// The targets that can be read, in the order of `targetRefs`.
    pub targets: Vec<Target>,
    /// `targetRefs` is missing, empty or holds something that can't be read, so `targets` isn't all of it. The operator
    /// then applies [`AuthorizationReading::for_unreadable_targets`] to the policy's whole namespace, besides what
    /// holds for `targets`.
    pub unreadable_targets: bool,
    /// `Enforce` where it can't be read.
    pub mode: Mode,
    /// 0 where it can't be read.
    pub priority: i32,
    pub authorization: Option<AuthorizationReading>,
    pub protocol: Section<ProtocolSection>,
    pub routes: Section<Vec<Route>>,
    pub telemetry: Section<Telemetry>,
    /// All that is wrong. Not empty: `Accepted=False`, with [`Reading::reason`].
    pub problems: Vec<Problem>,
}

/// A section that counts as absent as soon as anything in it is broken.
#[derive(Clone, Debug, PartialEq)]
pub enum Section<T> {
    Absent,
    Broken,
    Read(T),
}

/// `authorization`, in its strict reading where it isn't fully understood.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthorizationReading {
    /// `Some(Deny)` where it can't be read, or where something beside the rules can't be.
    pub default: Option<Verdict>,
    /// In the order of the policy, which means nothing.
    pub rules: Vec<RuleReading>,
}

/// One rule of `authorization`.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleReading {
    /// As it is written.
    Understood(AuthRule),
    /// An Allow rule that isn't fully understood. It matches nothing, but it is there: where no `default` is set, the
    /// workloads that it selects deny what nothing else allows.
    AllowsNothing { name: String, reason: String },
    /// A Deny rule (or one whose action can't be read) without the conditions that weren't understood.
    DeniesMore { rule: AuthRule, reason: String },
}

impl<T> Section<T> {
    /// The section, if it is there and whole.
    pub fn get(&self) -> Option<&T> {
        match self {
            Section::Read(section) => Some(section),
            Section::Absent | Section::Broken => None,
        }
    }
}

impl AuthorizationReading {
    /// What holds for the whole namespace of a policy whose targets can't all be read: its Deny rules, and its Allow
    /// rules as ones that match nothing.
    pub fn for_unreadable_targets(&self) -> AuthorizationReading {
        let strict = |rule: &RuleReading| match rule {
            RuleReading::Understood(rule) if rule.action == crate::Action::Allow => {
                let reason = "targetRefs can't be read".to_owned();
                RuleReading::AllowsNothing { name: rule.name.0.clone(), reason }
            }
            rule => rule.clone(),
        };
        AuthorizationReading { default: self.default, rules: self.rules.iter().map(strict).collect() }
    }
}

impl Reading {
    /// The reason for `Accepted=False`; `None` if there is no problem.
    pub fn reason(&self) -> Option<ProblemKind> {
        self.problems.iter().map(|problem| problem.kind).max()
    }
}

/// Reads a policy object: `{metadata, spec, …}`.
pub fn read(raw: &Value) -> Reading {
    let text = |field: &str| raw["metadata"][field].as_str().unwrap_or_default().to_owned();
    let mut reader = Reader { namespace: text("namespace"), problems: Vec::new() };
    let spec = &raw["spec"];
    if raw.get("spec").is_none() {
        reader
            .problems
            .push(Problem::invalid("spec", "spec is missing; say what the policy is about and what it sets"));
    } else {
        shape::spec().check(spec, "spec", &mut reader.problems);
    }

    let (targets, unreadable_targets) = reader.targets(spec);
    let mode = reader.scalar(spec, "mode").unwrap_or(Some(Mode::Enforce));
    let priority = reader.scalar(spec, "priority").unwrap_or(Some(0));
    let authorization = reader.authorization(spec);
    let mut protocol = reader.section(spec, "protocol");
    let mut routes = reader.routes(spec, &targets, unreadable_targets);
    let mut telemetry = reader.section(spec, "telemetry");
    if mode.is_none() || priority.is_none() {
        (protocol, routes, telemetry) = (protocol.broken(), routes.broken(), telemetry.broken());
    }
    if spec.is_object()
        && ["authorization", "protocol", "routes", "telemetry"].iter().all(|key| spec.get(key).is_none())
    {
        reader.problems.push(Problem::invalid("spec", NO_SECTION));
    }
    Reading {
        name: text("name"),
        uid: text("uid"),
        generation: raw["metadata"]["generation"].as_i64().unwrap_or_default(),
        created: raw["metadata"].get("creationTimestamp").and_then(|time| serde_json::from_value(time.clone()).ok()),
        namespace: reader.namespace,
        targets,
        unreadable_targets,
        mode: mode.unwrap_or(Mode::Enforce),
        priority: priority.unwrap_or(0),
        authorization,
        protocol,
        routes,
        telemetry,
        problems: reader.problems,
    }
}

impl<T> Section<T> {
    fn broken(self) -> Self {
        if matches!(self, Section::Absent) { Section::Absent } else { Section::Broken }
    }
}

/// Collects problems on the way. The schema's are all there from the start, so the rest is reported once each.
struct Reader {
    namespace: String,
    problems: Vec<Problem>,
}

/// The value, if the schema and the checks have nothing against it; else what they have.
fn item<T: Check + DeserializeOwned>(shape: &Shape, value: &Value, path: &str) -> Result<T, Vec<Problem>> {
    let mut problems = Vec::new();
    shape.check(value, path, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let item = T::deserialize(value).map_err(|error| vec![Problem::invalid(path, error)])?;
    item.check(path, &mut problems);
    if problems.is_empty() { Ok(item) } else { Err(problems) }
}

impl Reader {
    fn report(&mut self, found: Vec<Problem>) {
        for problem in found {
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }

    /// `None` where the field is absent, `Some(None)` where it is broken.
    fn scalar<T: DeserializeOwned>(&self, spec: &Value, field: &str) -> Option<Option<T>> {
        let value = spec.get(field)?;
        let mut problems = Vec::new();
        shape::spec().at(&[field]).check(value, field, &mut problems);
        Some(if problems.is_empty() { T::deserialize(value).ok() } else { None })
    }

    /// The targets that can be read, and whether there are others.
    fn targets(&mut self, spec: &Value) -> (Vec<Target>, bool) {
        let Some(list) = spec["targetRefs"].as_array().filter(|list| !list.is_empty()) else {
            return (Vec::new(), true);
        };
        let shape = shape::spec().at(&["targetRefs", "[]"]);
        let (mut targets, mut unreadable) = (Vec::new(), false);
        for (i, value) in list.iter().enumerate() {
            let path = format!("spec.targetRefs[{i}]");
            match item::<TargetRef>(shape, value, &path) {
                Ok(target) if self.elsewhere(&target) => {
                    let message = format!(
                        "a policy reaches its own namespace alone, which is \"{}\"; remove name, or move the policy",
                        self.namespace
                    );
                    self.problems.push(Problem::invalid(format!("{path}.name"), message));
                }
                // item() has seen to it that name and selector are there
                Ok(target) => targets.extend(target.target()),
                Err(found) => {
                    self.report(found);
                    unreadable = true;
                }
            }
        }
        (targets, unreadable)
    }

    /// Another namespace. (A file's policy may have none of its own yet.)
    fn elsewhere(&self, target: &TargetRef) -> bool {
        target.kind == TargetKind::Namespace
            && !self.namespace.is_empty()
            && target.name.as_ref().is_some_and(|name| name.as_str() != self.namespace)
    }

    fn section<T: Check + DeserializeOwned>(&mut self, spec: &Value, field: &str) -> Section<T> {
        let Some(value) = spec.get(field) else { return Section::Absent };
        match item(shape::spec().at(&[field]), value, &format!("spec.{field}")) {
            Ok(section) => Section::Read(section),
            Err(found) => {
                self.report(found);
                Section::Broken
            }
        }
    }

    fn routes(&mut self, spec: &Value, targets: &[Target], unreadable_targets: bool) -> Section<Vec<Route>> {
        let Some(value) = spec.get("routes") else { return Section::Absent };
        let (shape, path) = (shape::spec().at(&["routes"]), "spec.routes");
        let mut found = Vec::new();
        shape.check(value, path, &mut found);
        if !unreadable_targets && !targets.iter().any(|target| matches!(target, Target::Service { .. })) {
            found.push(Problem::invalid(path, ROUTES_WITHOUT_SERVICE));
        }
        let mut routes = Vec::new();
        for (i, value) in value.as_array().into_iter().flatten().enumerate() {
            match item(shape.at(&["[]"]), value, &format!("{path}[{i}]")) {
                Ok(route) => routes.push(route),
                Err(problems) => found.extend(problems),
            }
        }
        let whole = found.is_empty();
        self.report(found);
        if whole { Section::Read(routes) } else { Section::Broken }
    }
}

#[cfg(test)]
mod tests;
