//! Ports as Pods and Services name them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A port by number, or by the name that a container gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortRef {
    Number(u16),
    Name(String),
}

/// One `ports` entry of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPort {
    /// The container's name.
    pub container: String,
    /// The port's name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`; unset is TCP, as in Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

impl ContainerPort {
    pub fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
    }
}

impl PortRef {
    /// The TCP port numbers that this means in a Pod with these container ports. Kubernetes resolves a Service's named
    /// target port to the first container port of that name (docs: Service, "targetPort").
    pub fn resolve(&self, ports: &[ContainerPort]) -> Option<u16> {
        match self {
            PortRef::Number(number) => Some(*number),
            PortRef::Name(name) => {
                ports.iter().find(|port| port.is_tcp() && port.name.as_deref() == Some(name)).map(|port| port.port)
            }
        }
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortRef::Number(number) => number.fmt(f),
            PortRef::Name(name) => name.fmt(f),
        }
    }
}

impl Serialize for PortRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            PortRef::Number(number) => serializer.serialize_u16(*number),
            PortRef::Name(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for PortRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = PortRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port from 1 to 65535, or a container port's name")
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<PortRef, E> {
                u16::try_from(value)
                    .ok()
                    .filter(|port| *port > 0)
                    .map(PortRef::Number)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(value), &self))
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<PortRef, E> {
                u64::try_from(value)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))
                    .and_then(|value| self.visit_u64(value))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<PortRef, E> {
                // Kubernetes wants a letter in a port's name (RFC 6335, IANA_SVC_NAME)
                if value.bytes().any(|byte| byte.is_ascii_lowercase()) {
                    Ok(PortRef::Name(value.to_owned()))
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(value), &self))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_the_first_tcp_port_of_that_name() {
        let port = |name: &str, port, protocol: Option<&str>| ContainerPort {
            container: "c".into(),
            name: Some(name.into()),
            port,
            protocol: protocol.map(Into::into),
        };
        let ports = [port("dns", 53, Some("UDP")), port("dns", 54, None), port("dns", 55, Some("TCP"))];
        assert_eq!(PortRef::Name("dns".into()).resolve(&ports), Some(54));
        assert_eq!(PortRef::Name("http".into()).resolve(&ports), None);
        assert_eq!(PortRef::Number(7).resolve(&ports), Some(7));
    }

    #[test]
    fn reads_numbers_and_names_and_nothing_else() {
        let read = |text| serde_json::from_str::<PortRef>(text).ok();
        assert_eq!(read("80"), Some(PortRef::Number(80)));
        assert_eq!(read("\"http\""), Some(PortRef::Name("http".into())));
        for bad in ["0", "65536", "-1", "1.5", "\"\"", "\"80\"", "null", "[]"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
