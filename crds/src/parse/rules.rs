//! `authorization`, rule by rule, with the strict reading of what isn't fully understood.

use super::{AuthorizationReading, Reader, RuleReading, item};
use crate::authorization::{Action, AuthRule, Verdict};
use crate::check::Check;
use crate::problem::Problem;
use crate::scalars::Name;
use crate::shape::{self, Shape};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

impl Reader {
    /// `None` only where the policy has no `authorization` at all.
    pub(super) fn authorization(&mut self, spec: &Value) -> Option<AuthorizationReading> {
        let value = spec.get("authorization")?;
        let deny = AuthorizationReading { default: Some(Verdict::Deny), rules: Vec::new() };
        let Some(object) = value.as_object() else { return Some(deny) };
        let path = "spec.authorization";
        if object.is_empty() {
            self.report(vec![Problem::invalid(path, crate::authorization::EMPTY_AUTHORIZATION)]);
        }
        let rules = match object.get("rules") {
            None => Some(&[][..]),
            Some(Value::Array(rules)) if !rules.is_empty() => Some(&rules[..]),
            Some(_) => None,
        };
        let default = match object.get("default") {
            None => Some(None),
            Some(word) => serde_json::from_value::<Verdict>(word.clone()).ok().map(Some),
        };
        // `defualt: Deny` is a field that nobody knows; an API server may have pruned it to nothing at all
        let whole = !object.is_empty() && object.keys().all(|key| ["default", "rules"].contains(&key.as_str()));
        let default = match default {
            Some(default) if rules.is_some() && whole => default,
            _ => deny.default,
        };
        let rules = rules.unwrap_or_default().iter().enumerate();
        Some(AuthorizationReading {
            default,
            rules: rules.map(|(i, rule)| self.rule(rule, i, &format!("{path}.rules[{i}]"))).collect(),
        })
    }

    fn rule(&mut self, value: &Value, i: usize, path: &str) -> RuleReading {
        let shape = shape::spec().at(&["authorization", "rules", "[]"]);
        let found = match item::<AuthRule>(shape, value, path) {
            Ok(rule) => return RuleReading::Understood(rule),
            Err(found) => found,
        };
        let reason = found.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ");
        self.report(found);
        let name = self.name(shape, value).unwrap_or_else(|| Name(format!("rule-{i}")));
        // for an Allow too, to report what is wrong besides
        let from = self.entries(shape, value, "from", path);
        let to = self.entries(shape, value, "to", path);
        match value["action"].as_str() {
            Some("Allow") => RuleReading::AllowsNothing { name: name.0, reason },
            _ => RuleReading::DeniesMore { rule: AuthRule { name, action: Action::Deny, from, to }, reason },
        }
    }

    fn name(&self, shape: &Shape, rule: &Value) -> Option<Name> {
        let name = rule.get("name")?;
        let mut problems = Vec::new();
        shape.at(&["name"]).check(name, "name", &mut problems);
        if problems.is_empty() { serde_json::from_value(name.clone()).ok() } else { None }
    }

    /// The entries of `from` or `to` with what is understood of each; none, which means "any", as soon as of one entry
    /// nothing is left.
    fn entries<T: Check + DeserializeOwned>(&mut self, shape: &Shape, rule: &Value, field: &str, path: &str) -> Vec<T> {
        let shape = shape.at(&[field, "[]"]);
        let list = rule.get(field).and_then(Value::as_array).into_iter().flatten().enumerate();
        let entries: Vec<Option<T>> =
            list.map(|(i, entry)| self.understood(shape, entry, &format!("{path}.{field}[{i}]"))).collect();
        entries.into_iter().collect::<Option<Vec<T>>>().unwrap_or_default()
    }

    /// An entry's fields, each judged on its own: one that isn't fully understood is lost as a whole, since half a list
    /// of networks would deny less. `None` if nothing is left.
    fn understood<T: Check + DeserializeOwned>(&mut self, shape: &Shape, entry: &Value, path: &str) -> Option<T> {
        if let Err(found) = item::<T>(shape, entry, path) {
            self.report(found);
        }
        let mut kept = Map::new();
        for (field, value) in entry.as_object()? {
            let alone = Value::Object(Map::from_iter([(field.clone(), value.clone())]));
            match item::<T>(shape, &alone, path) {
                Ok(_) => {
                    kept.insert(field.clone(), value.clone());
                }
                Err(found) => self.report(found),
            }
        }
        if kept.is_empty() { None } else { T::deserialize(Value::Object(kept)).ok() }
    }
}
