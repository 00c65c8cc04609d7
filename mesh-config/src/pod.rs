//! What a proxy knows about its Pod: who it is (downward API), and the application's own probes, which it answers in
//! the kubelet's stead.

use crate::PortRef;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Environment keys that the downward API fills (`valueFrom.fieldRef`), with the field of each. They differ from Pod to
/// Pod, so they aren't part of [`crate::Settings`].
pub const DOWNWARD: [(&str, &str); 6] = [
    (ENV_NAME, "metadata.name"),
    (ENV_NAMESPACE, "metadata.namespace"),
    (ENV_UID, "metadata.uid"),
    (ENV_SERVICE_ACCOUNT, "spec.serviceAccountName"),
    (ENV_NODE, "spec.nodeName"),
    (ENV_IPS, "status.podIPs"),
];
const ENV_NAME: &str = "OUTRIGGER_POD_NAME";
const ENV_NAMESPACE: &str = "OUTRIGGER_POD_NAMESPACE";
const ENV_UID: &str = "OUTRIGGER_POD_UID";
const ENV_SERVICE_ACCOUNT: &str = "OUTRIGGER_SERVICE_ACCOUNT";
const ENV_NODE: &str = "OUTRIGGER_NODE_NAME";
const ENV_IPS: &str = "OUTRIGGER_POD_IPS";

/// Who the Pod is. Outside Kubernetes all of it may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub service_account: String,
    pub node: String,
    /// The Pod's addresses; unparsable ones are left out, since the kernel's answer is what counts.
    pub ips: Vec<IpAddr>,
}

impl Identity {
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Self {
        let text = |key| get(key).unwrap_or_default();
        Identity {
            name: text(ENV_NAME),
            namespace: text(ENV_NAMESPACE),
            uid: text(ENV_UID),
            service_account: text(ENV_SERVICE_ACCOUNT),
            node: text(ENV_NODE),
            ips: text(ENV_IPS).split(',').filter_map(|ip| ip.trim().parse().ok()).collect(),
        }
    }
}

/// A probe or lifecycle hook that the injector took out of an application container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    pub container: String,
    pub kind: ProbeKind,
    /// Seconds that the kubelet gives it (for probes; hooks have the container's grace period).
    #[serde(default = "one_second")]
    pub timeout_seconds: u32,
    /// The original handler as it stood in the Pod: `{"httpGet": {…}}`, `{"tcpSocket": {…}}` or `{"grpc": {…}}`.
    pub handler: serde_json::Value,
}

/// Kubernetes' default of `timeoutSeconds` (docs: "Configure Probes").
const fn one_second() -> u32 {
    1
}

/// Where in the container it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeKind {
    StartupProbe,
    ReadinessProbe,
    LivenessProbe,
    PostStart,
    PreStop,
}

impl ProbeKind {
    pub const ALL: [ProbeKind; 5] = [
        ProbeKind::StartupProbe,
        ProbeKind::ReadinessProbe,
        ProbeKind::LivenessProbe,
        ProbeKind::PostStart,
        ProbeKind::PreStop,
    ];

    /// The field's name in a container (`lifecycle.` before the hooks').
    pub const fn field(self) -> &'static str {
        match self {
            ProbeKind::StartupProbe => "startupProbe",
            ProbeKind::ReadinessProbe => "readinessProbe",
            ProbeKind::LivenessProbe => "livenessProbe",
            ProbeKind::PostStart => "postStart",
            ProbeKind::PreStop => "preStop",
        }
    }

    pub const fn is_hook(self) -> bool {
        matches!(self, ProbeKind::PostStart | ProbeKind::PreStop)
    }
}

/// What a probe asks, read from its original handler.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeTarget {
    HttpGet(HttpGet),
    TcpSocket(TcpSocket),
    Grpc(Grpc),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpGet {
    /// Unset: the Pod's own address.
    #[serde(default)]
    pub host: Option<String>,
    #[serde(default)]
    pub path: Option<String>,
    pub port: PortRef,
    /// `HTTP` or `HTTPS`; unset is HTTP. The kubelet doesn't verify certificates, and neither do we.
    #[serde(default)]
    pub scheme: Option<String>,
    #[serde(default)]
    pub http_headers: Vec<HttpHeader>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HttpHeader {
    pub name: String,
    #[serde(default)]
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TcpSocket {
    #[serde(default)]
    pub host: Option<String>,
    pub port: PortRef,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Grpc {
    pub port: PortRef,
    #[serde(default)]
    pub service: Option<String>,
}

impl Probe {
    /// The path on the metrics port under which the proxy answers for it.
    pub fn path(&self) -> String {
        format!("/app-probe/{}/{}", self.container, self.kind.field())
    }

    /// What it asks. The API server has checked the Pod, so an error means a handler newer than this proxy.
    pub fn target(&self) -> Result<ProbeTarget, serde_json::Error> {
        ProbeTarget::deserialize(&self.handler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_handler_is_read_as_it_stood_in_the_pod() {
        let probe =
            |handler| Probe { container: "web".into(), kind: ProbeKind::ReadinessProbe, timeout_seconds: 1, handler };
        let http = probe(json!({"httpGet": {"path": "/x", "port": "http", "scheme": "HTTPS",
            "httpHeaders": [{"name": "Host", "value": "a"}]}}));
        assert_eq!(http.path(), "/app-probe/web/readinessProbe");
        assert_eq!(
            http.target().unwrap(),
            ProbeTarget::HttpGet(HttpGet {
                host: None,
                path: Some("/x".into()),
                port: PortRef::Name("http".into()),
                scheme: Some("HTTPS".into()),
                http_headers: vec![HttpHeader { name: "Host".into(), value: "a".into() }],
            })
        );
        assert_eq!(
            probe(json!({"tcpSocket": {"port": 6379}})).target().unwrap(),
            ProbeTarget::TcpSocket(TcpSocket { host: None, port: PortRef::Number(6379) })
        );
        assert_eq!(
            probe(json!({"grpc": {"port": 9000, "service": null}})).target().unwrap(),
            ProbeTarget::Grpc(Grpc { port: PortRef::Number(9000), service: None })
        );
        assert!(probe(json!({"exec": {"command": ["true"]}})).target().is_err());
    }
}
