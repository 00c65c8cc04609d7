//! The proxy's configuration document, format 1: one per meshed namespace, written by the operator (or by hand, for
//! machines without Kubernetes), read by every proxy there.
//!
//! Reading order: [`Document`] is what was written; [`Document::parse`] reads it and finds what nobody understood;
//! [`validate`](validate::validate) checks it whole and gives a [`Valid`], the only thing that a proxy runs;
//! [`effective`] folds the layers that select a Pod into what holds for it.

pub mod effective;
#[cfg(test)]
mod tests;
pub mod validate;

pub use effective::{PortPolicy, Workload};
pub use validate::Valid;

use crate::settings::AccessLogFormat;
use crate::{Duration, Filter, PortRef, Problems, Protocol, Selector};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// The format that this code reads and writes.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// [`VERSION`].
    pub version: u32,
    /// The namespace whose proxies it is for; for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// What holds for workloads, weakest first: a later layer wins over an earlier one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
    /// What callers know about the Services that they call, found by original destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// Where requests can be sent, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clusters: BTreeMap<String, Cluster>,
}

/// What one policy (or one Service's declaration) says about the workloads that it selects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// Where it comes from: `MeshPolicy/NAMESPACE/NAME` or `Service/NAMESPACE/NAME`.
    pub source: String,
    #[serde(default)]
    pub selector: Selector,
    /// The Pod's ports that `authorization` and `protocol` are about. Empty: all of them. A name that the Pod doesn't
    /// have selects nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRef>,
    /// Evaluated, counted and logged; never applied.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolSection>,
    /// Both directions of the workload where `ports` is empty; else connections to these ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
}

/// Who may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// What holds when no rule matches; unset: Deny as soon as one Allow rule selects the port, else Allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Verdict>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    Allow,
    Deny,
}

/// One rule. A Deny that matches wins over every Allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// For logs and metrics.
    pub name: String,
    pub action: Verdict,
    /// The strict reading of an Allow rule that wasn't understood: it matches nothing, but its being there still makes
    /// the default Deny.
    #[serde(default, skip_serializing_if = "is_false")]
    pub never: bool,
    /// Any of the entries; empty: every caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<From>,
    /// Any of the entries; empty: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<To>,
}

/// A caller; all given fields must hold, and an entry without any holds for everybody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct From {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_blocks: Vec<IpNet>,
    /// The caller must be in none of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_ip_blocks: Vec<IpNet>,
}

/// What is called; all given fields must hold. `methods` and `paths` are HTTP fields: on an opaque connection an Allow
/// rule that has them doesn't match, a Deny rule matches by its other fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct To {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathMatch>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProtocolSection {
    /// Silence after which a connection of undeclared protocol is opened to its destination. Zero: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect_timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortProtocol>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortProtocol {
    /// The Pod's port.
    pub port: PortRef,
    pub protocol: Protocol,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<AccessLogFormat>,
    /// Which requests are written; unset: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
}

/// A Service as its callers see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// Its addresses, of both families; with a port they are the original destination by which it is found.
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    pub port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it speaks; unset: detect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// As in [`ProtocolSection::detect_timeout`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect_timeout: Option<Duration>,
    /// In any order: what matches best wins (Gateway API's precedence), then the name. A request that none matches goes
    /// to the Service itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// What `routes` would be with the policies of mode DryRun applied, where there are such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run_routes: Option<Vec<Route>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    pub name: String,
    /// Any of the entries; empty: every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<RouteMatch>,
    /// Where it goes, by weight; empty: to the Service itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<Backend>,
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// All given fields must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteMatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ValueMatch>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<ValueMatch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PathMatch {
    #[serde(rename = "type", default)]
    pub kind: PathMatchType,
    pub value: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathMatchType {
    Exact,
    /// By whole segments: `/api` matches `/api` and `/api/x`, not `/apix`.
    #[default]
    PathPrefix,
    /// Matches the whole path.
    RegularExpression,
}

/// A header or query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ValueMatch {
    #[serde(rename = "type", default)]
    pub kind: ValueMatchType,
    pub name: String,
    pub value: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueMatchType {
    #[default]
    Exact,
    /// Matches the whole value.
    RegularExpression,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// A key of [`Document::clusters`].
    pub cluster: String,
    /// Its share, in proportion to the sum of all weights; 0: none.
    pub weight: u32,
}

/// Unset means off, and so does zero. (Gateway API: "a zero-valued timeout means no timeout".)
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// From the request's head to the end of the answer, all tries together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// One try: from sending it to the head of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<Duration>,
    /// Silence on a request's stream, in both directions. Unset: 300 s; not for upgraded connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
}

/// A set of endpoints. One without any answers 500 to its share of requests (Gateway API: a backendRef that doesn't
/// exist).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    pub endpoints: Vec<Endpoint>,
}

/// One thing that can be connected to; the address of the caller's family is used where there is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    pub addresses: Vec<IpAddr>,
    pub port: u16,
}

/// What was read, and what in it nobody understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub document: Document,
    /// Paths of fields that this version doesn't know: counted and ignored, but for `closed`.
    pub unknown: Vec<String>,
    /// Layers in whose authorization something wasn't understood: whatever they select is closed.
    pub closed: Vec<usize>,
}

impl Document {
    /// Reads JSON, or YAML where a person wrote it. A wrong type, an unknown word or a missing field refuses the
    /// document; unknown fields don't.
    pub fn parse(bytes: &[u8]) -> Result<Parsed, Problems> {
        let mut problems = Problems::default();
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                problems.add("", format!("the document is not UTF-8: {error}"));
                return Err(problems);
            }
        };
        let read = if text.trim_start().starts_with('{') {
            let mut json = serde_json::Deserializer::from_str(text);
            read(&mut json)
                .and_then(|parsed| json.end().map(|()| parsed).map_err(|error| (String::new(), error.to_string())))
        } else {
            // a person's file: through a value, so that both forms are judged by the same reader
            match serde_saphyr::from_str::<serde_json::Value>(text) {
                Ok(value) => read(value),
                Err(error) => Err((String::new(), error.to_string())),
            }
        };
        read.map_err(|(path, message)| {
            problems.add(path, message);
            problems
        })
    }

    /// The bytes that stand in the ConfigMap: deterministic, since maps are sorted and lists are in order.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data with text keys");
        text.push('\n');
        text
    }
}

fn read<'de, D>(deserializer: D) -> Result<Parsed, (String, String)>
where
    D: serde::Deserializer<'de, Error: std::fmt::Display>,
{
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    let document: Result<Document, _> = serde_ignored::deserialize(deserializer, |path| unknown.push(path.to_string()));
    match document {
        Ok(document) => {
            let closed = unknown.iter().filter_map(|path| closes(path));
            let mut closed: Vec<usize> = closed.collect();
            closed.dedup();
            Ok(Parsed { document, closed, unknown })
        }
        Err(error) => {
            let path = track.path().to_string();
            // "." and "?" are how the library writes "the whole document" and "no place within it"
            Err((if ["?", "."].contains(&path.as_str()) { String::new() } else { path }, error.to_string()))
        }
    }
}

/// The layer that an unknown field at this path closes: `layers.3.authorization.…`, and whatever narrows a layer.
fn closes(path: &str) -> Option<usize> {
    let mut parts = path.split('.').filter(|part| *part != "?");
    let (Some("layers"), Some(index), Some(field)) = (parts.next(), parts.next(), parts.next()) else { return None };
    // a selector of a newer kind would make the layer select the wrong Pods
    ["authorization", "selector"].contains(&field).then(|| index.parse().ok())?
}

fn is_false(value: &bool) -> bool {
    !value
}
