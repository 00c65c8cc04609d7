//! A Service, as much of it as policies and proxies care for.
//!
//! Whatever the API server would never store (port 0, an address of no family) is left out here, once, so that no
//! document can carry it.

use super::Key;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_config::{PortRef, Protocol, selector::Labels};
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub created: Option<Timestamp>,
    /// Empty: it chooses no Pods by itself.
    pub selector: Labels,
    pub reached: Reached,
    /// In the order of the object, all transports.
    pub ports: Vec<ServicePort>,
}

/// How callers get to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reached {
    /// By its own addresses.
    ByAddress(Vec<IpAddr>),
    /// `clusterIP: None`: callers connect to Pods, so no proxy sees the Service in a connection.
    Headless,
    /// A name elsewhere.
    ByExternalName,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    pub name: Option<String>,
    pub port: u16,
    /// The Pod's port.
    pub target: PortRef,
    pub tcp: bool,
    /// What `appProtocol`, else the name, declares.
    pub declared: Option<Protocol>,
}

impl Service {
    /// `None` where the object has no name or namespace.
    pub fn read(object: &core::Service) -> Option<(Key, Service)> {
        let key = Key::new(object.metadata.namespace.clone()?, object.metadata.name.clone()?);
        let spec = object.spec.clone().unwrap_or_default();
        let external = spec.type_.as_deref() == Some("ExternalName");
        let service = Service {
            created: object.metadata.creation_timestamp.as_ref().map(|time| time.0),
            selector: if external { Labels::new() } else { spec.selector.clone().unwrap_or_default() },
            reached: if external { Reached::ByExternalName } else { reached(&spec) },
            ports: spec.ports.iter().flatten().filter_map(port).collect(),
        };
        Some((key, service))
    }

    /// None for Services that no connection shows.
    pub fn addresses(&self) -> &[IpAddr] {
        match &self.reached {
            Reached::ByAddress(addresses) => addresses,
            Reached::Headless | Reached::ByExternalName => &[],
        }
    }

    /// The TCP ports, or the one of this name.
    pub fn tcp_ports<'a>(&'a self, section_name: Option<&'a str>) -> impl Iterator<Item = &'a ServicePort> {
        self.ports
            .iter()
            .filter(move |port| port.tcp && section_name.is_none_or(|name| port.name.as_deref() == Some(name)))
    }

    /// The Pods' ports behind them, each once.
    pub fn targets(&self, section_name: Option<&str>) -> Vec<PortRef> {
        let mut targets: Vec<PortRef> = self.tcp_ports(section_name).map(|port| port.target.clone()).collect();
        targets.sort();
        targets.dedup();
        targets
    }
}

fn reached(spec: &core::ServiceSpec) -> Reached {
    // what can't be called can't be an original destination either
    let callable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback();
    let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut addresses: Vec<IpAddr> = listed.filter_map(|text| text.parse().ok()).filter(callable).collect();
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() { Reached::Headless } else { Reached::ByAddress(addresses) }
}

fn port(port: &core::ServicePort) -> Option<ServicePort> {
    let number = |n: i32| u16::try_from(n).ok().filter(|n| *n > 0);
    let own = number(port.port)?;
    let target = match &port.target_port {
        None => PortRef::Number(own),
        Some(IntOrString::Int(target)) => PortRef::Number(number(*target)?),
        // the same reader as the document's, so that what is written there can be read again
        Some(IntOrString::String(name)) => serde_json::from_value(name.as_str().into()).ok()?,
    };
    Some(ServicePort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: own,
        target,
        tcp: port.protocol.as_deref().is_none_or(|transport| transport == "TCP"),
        declared: Protocol::declared(port.app_protocol.as_deref(), port.name.as_deref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: serde_json::Value) -> Service {
        let object = serde_json::json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": spec});
        Service::read(&serde_json::from_value(object).unwrap()).unwrap().1
    }

    #[test]
    fn a_service_is_reached_by_all_its_addresses_or_not_at_all() {
        let addresses = |list: &[&str]| Reached::ByAddress(list.iter().map(|ip| ip.parse().unwrap()).collect());
        for (spec, want) in [
            (
                serde_json::json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}),
                addresses(&["10.0.0.1", "fd00::1"]),
            ),
            (serde_json::json!({"clusterIP": "10.0.0.1"}), addresses(&["10.0.0.1"])),
            (serde_json::json!({"clusterIP": "None", "clusterIPs": ["None"]}), Reached::Headless),
            (serde_json::json!({"clusterIP": ""}), Reached::Headless),
            (serde_json::json!({"clusterIP": "127.0.0.1"}), Reached::Headless),
            (serde_json::json!({"type": "ExternalName", "externalName": "example.com"}), Reached::ByExternalName),
        ] {
            assert_eq!(read(spec.clone()).reached, want, "{spec}");
        }
    }

    #[test]
    fn ports_that_cannot_be_are_left_out_and_unset_targets_are_the_port_itself() {
        let service = read(serde_json::json!({"ports": [
            {"name": "http", "port": 80},
            {"name": "named", "port": 81, "targetPort": "web"},
            {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"},
            {"name": "zero", "port": 0},
            {"name": "high", "port": 82, "targetPort": 70000},
            {"name": "digits", "port": 83, "targetPort": "83"},
        ]}));
        let ports: Vec<_> = service.ports.iter().map(|port| (port.port, port.target.to_string(), port.tcp)).collect();
        assert_eq!(ports, [(80, "80".into(), true), (81, "web".into(), true), (53, "5353".into(), false)]);
        assert_eq!(service.targets(None), [PortRef::Number(80), PortRef::Name("web".into())]);
        assert_eq!(service.targets(Some("named")), [PortRef::Name("web".into())]);
        assert_eq!(service.targets(Some("dns")), []);
    }
}
