//! The schema, applied in Rust: types, bounds, patterns, unknown fields, unique names. It is compiled from the very
//! definition that is installed, so the two can't drift apart. CEL rules are not run here; `check.rs` repeats them.

use crate::problem::Problem;
use crate::scalars::IpBlock;
use crate::schema::{crd, null_message};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::Regex;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

/// One node of the schema.
pub(crate) struct Shape {
    description: String,
    is: Is,
}

enum Is {
    Object { fields: BTreeMap<String, Shape>, required: Vec<String> },
    Map { values: Box<Shape>, count: Bounds },
    List { items: Box<Shape>, count: Bounds, unique: Unique },
    Text { length: Bounds, pattern: Option<Regex>, words: Vec<String>, network: bool, must: Option<String> },
    Integer(Bounds),
}

#[derive(Clone, Copy)]
struct Bounds {
    min: i64,
    max: i64,
}

enum Unique {
    No,
    Items,
    By(String),
}

/// The shape of `spec`.
pub(crate) fn spec() -> &'static Shape {
    static SPEC: LazyLock<Shape> = LazyLock::new(|| {
        let schema = crd().spec.versions.into_iter().find_map(|version| version.schema?.open_api_v3_schema);
        let spec = schema.and_then(|mut schema| schema.properties.as_mut()?.remove("spec"));
        Shape::of(&spec.expect("the derive writes a schema with spec"))
    });
    &SPEC
}

impl Shape {
    fn of(schema: &JSONSchemaProps) -> Shape {
        let bounds =
            |min: Option<i64>, max: Option<i64>| Bounds { min: min.unwrap_or(0), max: max.unwrap_or(i64::MAX) };
        let is = match schema.type_.as_deref() {
            Some("object") => match (&schema.properties, &schema.additional_properties) {
                (Some(fields), _) => Is::Object {
                    fields: fields.iter().map(|(name, field)| (name.clone(), Shape::of(field))).collect(),
                    required: schema.required.clone().unwrap_or_default(),
                },
                (None, Some(JSONSchemaPropsOrBool::Schema(values))) => Is::Map {
                    values: Box::new(Shape::of(values)),
                    count: bounds(schema.min_properties, schema.max_properties),
                },
                _ => unreachable!("an object of a spec says what is in it"),
            },
            Some("array") => match &schema.items {
                Some(JSONSchemaPropsOrArray::Schema(items)) => Is::List {
                    items: Box::new(Shape::of(items)),
                    count: bounds(schema.min_items, schema.max_items),
                    unique: match (schema.x_kubernetes_list_type.as_deref(), &schema.x_kubernetes_list_map_keys) {
                        (Some("map"), Some(keys)) => keys.first().map_or(Unique::No, |key| Unique::By(key.clone())),
                        (Some("set"), _) => Unique::Items,
                        _ => Unique::No,
                    },
                },
                _ => unreachable!("a list of a spec says what is in it"),
            },
            Some("string") => Is::Text {
                length: bounds(schema.min_length, schema.max_length),
                pattern: schema.pattern.as_ref().map(|p| Regex::new(p).expect("patterns are constants of this crate")),
                words: schema.enum_.iter().flatten().filter_map(|word| word.0.as_str().map(str::to_owned)).collect(),
                // the one rule on a string that is more than a pattern
                network: schema
                    .x_kubernetes_validations
                    .iter()
                    .flatten()
                    .any(|rule| rule.rule.contains("isCIDR(self)")),
                must: schema.x_kubernetes_validations.iter().flatten().find_map(|rule| rule.message.clone()),
            },
            // bounds of this crate are small whole numbers
            Some("integer") => Is::Integer(bounds(schema.minimum.map(|n| n as i64), schema.maximum.map(|n| n as i64))),
            other => unreachable!("no field of a spec has type {other:?}"),
        };
        Shape { description: schema.description.clone().unwrap_or_default(), is }
    }

    /// The shape of a field, or of a list's items for `[]`.
    pub fn at(&self, path: &[&str]) -> &Shape {
        path.iter().fold(self, |shape, step| match &shape.is {
            Is::Object { fields, .. } => fields.get(*step).expect("paths are constants of this crate, and tested"),
            Is::List { items, .. } if *step == "[]" => items,
            _ => unreachable!("paths are constants of this crate, and tested: {path:?}"),
        })
    }

    /// Adds every problem of `value`, which stands at `path`.
    pub fn check(&self, value: &Value, path: &str, problems: &mut Vec<Problem>) {
        let mut invalid = |message: String| problems.push(Problem::invalid(path, message));
        if value.is_null() {
            return invalid(null_message(path.rsplit('.').next().unwrap_or(path)));
        }
        match (&self.is, value) {
            (Is::Object { fields, required }, Value::Object(object)) => {
                for name in required.iter().filter(|name| !object.contains_key(*name)) {
                    problems.push(Problem::invalid(format!("{path}.{name}"), self.missing(name)));
                }
                for (name, value) in object {
                    let path = format!("{path}.{name}");
                    match fields.get(name) {
                        Some(field) => field.check(value, &path, problems),
                        None => problems.push(Problem::unknown_field(path, unknown(name, fields))),
                    }
                }
            }
            (Is::Map { values, count }, Value::Object(object)) => {
                if let Some(message) = count.refuse(object.len(), "entry", "entries") {
                    invalid(message);
                }
                for (key, value) in object {
                    values.check(value, &format!("{path}[{key}]"), problems);
                }
            }
            (Is::List { items, count, unique }, Value::Array(list)) => {
                if let Some(message) = count.refuse(list.len(), "item", "items") {
                    invalid(message);
                }
                for (i, value) in list.iter().enumerate() {
                    items.check(value, &format!("{path}[{i}]"), problems);
                }
                duplicates(unique, list, path, problems);
            }
            (Is::Text { length, pattern, words, network, must }, Value::String(text)) => {
                let broken = pattern.as_ref().filter(|pattern| !pattern.is_match(text));
                if !words.is_empty() {
                    if !words.contains(text) {
                        let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                        invalid(format!("\"{text}\" is not one of {}", words.join(", ")));
                    }
                } else if let Some(must) = must.as_ref().filter(|_| broken.is_some() || *network && !is_network(text)) {
                    invalid(format!("\"{text}\" {must}"));
                } else if let Some(message) = length.refuse(text.chars().count(), "character", "characters") {
                    invalid(message);
                } else if let Some(pattern) = broken {
                    invalid(format!("\"{text}\" does not match {pattern}; {}", self.description));
                }
            }
            (Is::Integer(bounds), Value::Number(number)) if number.is_i64() || number.is_u64() => {
                let inside = number.as_i64().is_some_and(|number| (bounds.min..=bounds.max).contains(&number));
                if !inside {
                    invalid(format!("{number} is not from {} to {}", bounds.min, bounds.max));
                }
            }
            (is, value) => invalid(format!("must be {}, not {}", is.name(), name_of(value))),
        }
    }

    fn missing(&self, name: &str) -> String {
        let about = self.at(&[name]).description.as_str();
        format!("{name} is missing; {about}")
    }
}

impl Is {
    fn name(&self) -> &'static str {
        match self {
            Is::Object { .. } | Is::Map { .. } => "an object",
            Is::List { .. } => "a list",
            Is::Text { .. } => "a string",
            Is::Integer(_) => "a whole number",
        }
    }
}

fn name_of(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        Value::String(text) => format!("the string \"{text}\""),
        other => other.to_string(),
    }
}

impl Bounds {
    fn refuse(self, count: usize, one: &str, many: &str) -> Option<String> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if count == 0 && self.min == 1 {
            Some("is empty; give it a value, or remove it".into())
        } else if count < self.min {
            Some(format!("has {count} {}, at least {} are needed", if count == 1 { one } else { many }, self.min))
        } else if count > self.max {
            Some(format!("has {count} {many}, at most {} fit", self.max))
        } else {
            None
        }
    }
}

fn is_network(text: &str) -> bool {
    IpBlock::parse(text).is_some()
}

fn unknown(name: &str, fields: &BTreeMap<String, Shape>) -> String {
    let known: Vec<_> = fields.keys().map(String::as_str).collect();
    format!("unknown field \"{name}\"; remove it, or take one of {}", known.join(", "))
}

fn duplicates(unique: &Unique, list: &[Value], path: &str, problems: &mut Vec<Problem>) {
    let mut seen = HashSet::new();
    for (i, value) in list.iter().enumerate() {
        let (key, path) = match unique {
            Unique::No => return,
            Unique::Items => (Some(value), format!("{path}[{i}]")),
            Unique::By(key) => (value.get(key), format!("{path}[{i}].{key}")),
        };
        if key.is_some_and(|key| !seen.insert(key.to_string())) {
            let key = key.map(Value::to_string).unwrap_or_default();
            problems.push(Problem::invalid(path, format!("{key} stands here twice; remove one, or rename it")));
        }
    }
}
