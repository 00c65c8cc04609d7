//! The application's probes and lifecycle hooks, which the injector has turned to this proxy: asked here, of the Pod's own
//! address, the way the kubelet would have, and outside authorization, so that a workload under deny-all stays Ready.
//!
//! The answer is 200, or 503 with the reason as text (`kubectl describe pod` shows the status alone). As for the kubelet,
//! statuses 200 to 399 are a success, certificates aren't verified, and a hook succeeds when it got any answer. One
//! thing differs: a redirect isn't followed.

mod connect;
mod grpc;
mod http;
#[cfg(test)]
mod tests;
mod tls;

use ::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use mesh_config::pod::{Identity, Probe, ProbeTarget};
use mesh_config::{ContainerPort, PortRef};
use mesh_runtime::admin::{Table, text};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The kubelet gives a hook as long as the Pod has to end; it hangs up when that is over.
const HOOK_TIMEOUT: Duration = Duration::from_secs(3600);

/// Why a probe failed. The texts are what people see.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the probe can't be understood: {0}")]
    Handler(#[from] serde_json::Error),
    #[error("no container port is named {0:?}")]
    Port(PortRef),
    #[error("the probe's {what} {value:?} can't be sent: {reason}")]
    Request { what: &'static str, value: String, reason: String },
    #[error("{host} can't be resolved: {source}")]
    Resolve { host: String, source: std::io::Error },
    #[error("can't connect to {address}: {source}")]
    Connect { address: std::net::SocketAddr, source: std::io::Error },
    #[error("the TLS handshake failed: {0}")]
    Tls(std::io::Error),
    #[error("no answer: {0}")]
    Answer(#[from] hyper::Error),
    #[error("the answer's status is {0}")]
    Status(StatusCode),
    #[error("the answer is not gRPC: {0}")]
    NotGrpc(&'static str),
    #[error("grpc-status {0}")]
    GrpcStatus(String),
    #[error("the service's health is {0}")]
    NotServing(&'static str),
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// What all probes of the Pod have in common.
#[derive(Debug)]
pub(crate) struct Pod {
    /// Where the kubelet would have connected to.
    address: IpAddr,
    /// All of the Pod's addresses: to these the connection comes from the pass-through source, which is never captured.
    own: Vec<IpAddr>,
    ports: Vec<ContainerPort>,
}

impl Pod {
    fn new(identity: &Identity, ports: &[ContainerPort]) -> Pod {
        // the first is the one that the kubelet uses; without any there is no kubelet
        let address = identity.ips.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into());
        Pod { address, own: identity.ips.clone(), ports: ports.to_vec() }
    }

    fn port(&self, port: &PortRef) -> Result<u16, Failure> {
        port.resolve(&self.ports).ok_or_else(|| Failure::Port(port.clone()))
    }
}

/// A route for each.
pub fn routes(identity: &Identity, ports: &[ContainerPort], probes: &[Probe]) -> Table {
    let pod = Arc::new(Pod::new(identity, ports));
    probes.iter().fold(Table::new(), |table, probe| {
        let (pod, probe) = (Arc::clone(&pod), Arc::new(probe.clone()));
        // a handful, once, for the life of the process: the table's paths are static
        let path: &'static str = probe.path().leak();
        table.get(path, "the application's own probe, asked in the kubelet's stead", move |request: Request<Bytes>| {
            let (pod, probe) = (Arc::clone(&pod), Arc::clone(&probe));
            async move {
                match ask(&pod, &probe, request.headers()).await {
                    Ok(()) => text(StatusCode::OK, "ok\n"),
                    Err(failure) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{failure}\n")),
                }
            }
        })
    })
}

/// Asks the application. `asked_with` are the kubelet's headers, of which the user agent is passed on.
async fn ask(pod: &Pod, probe: &Probe, asked_with: &HeaderMap) -> Result<(), Failure> {
    let limit = match probe.kind.is_hook() {
        true => HOOK_TIMEOUT,
        false => Duration::from_secs(probe.timeout_seconds.max(1).into()),
    };
    let asked = async {
        match probe.target()? {
            ProbeTarget::HttpGet(get) => match http::ask(pod, &get, asked_with).await {
                Err(Failure::Status(_)) if probe.kind.is_hook() => Ok(()),
                result => result,
            },
            ProbeTarget::TcpSocket(socket) => {
                let port = pod.port(&socket.port)?;
                connect::connect(pod, socket.host.as_deref(), port).await.map(drop)
            }
            ProbeTarget::Grpc(health) => {
                let port = pod.port(&health.port)?;
                grpc::ask(pod, port, health.service.as_deref().unwrap_or_default(), asked_with).await
            }
        }
    };
    timeout(limit, asked).await.unwrap_or(Err(Failure::Timeout(limit)))
}
