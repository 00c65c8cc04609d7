//! `protocol`: what the workloads' ports speak.

use crate::scalars::{Duration, Port, word};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

word!(/// What a port speaks.
    PortProtocol { Http = "HTTP", H2c = "H2C", Grpc = "GRPC", Tls = "TLS", Tcp = "TCP" });

pub(crate) const EMPTY_PROTOCOL: &str = "protocol says nothing; set detectTimeout or ports, or remove it";

/// What the ports of the targets' workloads speak. A declared protocol always wins over detection.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.detectTimeout) || has(self.ports)").message(EMPTY_PROTOCOL))]
pub struct ProtocolSection {
    /// How long the proxy waits for the caller's first bytes on a port without a declared protocol; after that it opens
    /// the destination and lets whichever side speaks first decide. 0s: don't wait. Default: 50ms. Example: 200ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detect_timeout: Option<Duration>,
    /// The declared protocols, one entry for each port, 1 to 64. They win over the Service's appProtocol and port
    /// names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["port".into()]))]
    pub ports: Vec<ProtocolPort>,
}

/// What one port speaks.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct ProtocolPort {
    /// The port that the container listens on (a Service's target port). Example: 6379.
    pub port: Port,
    /// HTTP (HTTP/1.1, or HTTP/2 where the client begins with it), H2C (HTTP/2 without TLS), GRPC, TLS (passed through
    /// as it is) or TCP (opaque; for protocols in which the server speaks first, such as MySQL and SMTP). Example: TCP.
    pub protocol: PortProtocol,
}

impl From<PortProtocol> for mesh_config::Protocol {
    fn from(protocol: PortProtocol) -> Self {
        match protocol {
            PortProtocol::Http => mesh_config::Protocol::Http,
            PortProtocol::H2c => mesh_config::Protocol::H2c,
            PortProtocol::Grpc => mesh_config::Protocol::Grpc,
            PortProtocol::Tls => mesh_config::Protocol::Tls,
            PortProtocol::Tcp => mesh_config::Protocol::Tcp,
        }
    }
}
