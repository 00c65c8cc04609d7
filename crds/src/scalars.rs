//! The values that sections share: names, ports, paths, methods. Each type carries its bounds into the schema, where
//! [`crate::check()`] finds them again.
//!
//! Strings stay strings here; where `mesh-config` has a type for the value, the newtype holds that.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A string newtype with its bounds. (KubeSchema knows structs with named fields only; `extend` works on every type.)
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, min $min:literal, max $max:literal $(, $key:literal = $value:tt)*) => {
        $(#[$doc])*
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[schemars(inline, extend("minLength" = $min, "maxLength" = $max $(, $key = $value)*))]
        pub struct $name(pub String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name(text.to_owned())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// An enum whose variants are words of the API.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[schemars(inline)]
        pub enum $name { $( #[serde(rename = $text)] $variant ),+ }

        impl $name {
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text ),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use {text, word};

text!(/// A DNS label: lower case letters, digits and '-'.
    Name, min 1, max 63, "pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$");
text!(/// The value of a label: letters, digits, '-', '_' and '.'.
    LabelValue, min 0, max 63, "pattern" = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$");
text!(/// The name of an HTTP header or query parameter: no spaces, no ':'.
    HeaderName, min 1, max 256, "pattern" = "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$");
text!(/// The value of a header.
    HeaderValue, min 1, max 4096);
text!(/// The value of a query parameter.
    QueryValue, min 1, max 1024);
text!(/// A path, a prefix or an expression.
    Path, min 1, max 1024);

word!(/// How a path is compared.
    PathMatchType { Exact = "Exact", PathPrefix = "PathPrefix", RegularExpression = "RegularExpression" });
word!(/// How a header or query parameter is compared.
    ValueMatchType { Exact = "Exact", RegularExpression = "RegularExpression" });
word!(/// An HTTP method.
    Method { Get = "GET", Head = "HEAD", Post = "POST", Put = "PUT", Delete = "DELETE", Connect = "CONNECT",
        Options = "OPTIONS", Trace = "TRACE", Patch = "PATCH" });
word!(/// The API group of a core object: the empty string.
    CoreGroup { Core = "" });

// i32: for u16 the derive writes a format that the API server warns about
/// A port number.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(inline, extend("minimum" = 1, "maximum" = 65535))]
pub struct Port(#[schemars(with = "i32")] pub u16);

/// A duration as Gateway API writes it: 500ms, 5s, 1m30s.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(inline, extend(
    "minLength" = 2, "maxLength" = 28, "pattern" = "^([0-9]{1,5}(h|m|s|ms)){1,4}$",
    "x-kubernetes-validations" = [{
        "rule": "self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')",
        "message": "must be a duration such as 500ms, 5s or 1m30s"}]))]
pub struct Duration(#[schemars(with = "String")] pub mesh_config::Duration);

// not "format: cidr": the API server would answer "must be of type cidr" and never come to the rule
/// A network in CIDR form without host bits: 10.0.0.0/8, 10.1.2.3/32, fd00::/8.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(inline, extend(
    "minLength" = 3, "maxLength" = 43,
    "x-kubernetes-validations" = [{
        "rule": "isCIDR(self) && cidr(self) == cidr(self).masked()",
        "message": "must be a network in CIDR form without host bits, such as 10.0.0.0/8, 10.1.2.3/32 or fd00::/8"}]))]
pub struct IpBlock(#[schemars(with = "String")] pub ipnet::IpNet);

impl IpBlock {
    /// As the API server reads it (its CEL library `cidr`): without host bits, and no IPv4 address in IPv6 clothes.
    pub fn parse(text: &str) -> Option<Self> {
        let network: ipnet::IpNet = text.parse().ok()?;
        let mapped = matches!(network, ipnet::IpNet::V6(network) if network.addr().to_ipv4_mapped().is_some());
        let plain = text.rsplit_once('/').is_some_and(|(_, bits)| bits == network.prefix_len().to_string());
        (plain && !mapped && network == network.trunc()).then_some(IpBlock(network))
    }
}
