//! Names, ports and ids that every part of the product uses. Nothing here is configurable; what is stands in
//! [`crate::Mesh`].

use std::net::{Ipv4Addr, Ipv6Addr};

/// The domain of labels, annotations, the API group and Event reporters.
pub const DOMAIN: &str = "outrigger.dev";
/// The version of the product, which the image tags and the label [`LABEL_PROXY`] carry.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where the control plane runs unless the manifests are changed.
pub const SYSTEM_NAMESPACE: &str = "outrigger-system";
/// The SPIFFE trust domain unless `mesh.yaml` says otherwise.
pub const TRUST_DOMAIN: &str = "cluster.local";

/// On a namespace or Pod: `enabled` or `disabled`. On a Pod an annotation of the same name opts out too.
pub const LABEL_INJECT: &str = "outrigger.dev/inject";
/// Injection puts it on the Pod; the value is the proxy's version.
pub const LABEL_PROXY: &str = "outrigger.dev/proxy";
/// For people: what was injected. Never read back.
pub const ANNOTATION_STATUS: &str = "outrigger.dev/status";

/// The init container.
pub const CONTAINER_INIT: &str = "outrigger-init";
/// The sidecar.
pub const CONTAINER_PROXY: &str = "outrigger-proxy";

/// The proxy's ConfigMap in every meshed namespace.
pub const CONFIGMAP_PROXY: &str = "outrigger-proxy-config";
/// The trust bundle's ConfigMap in every meshed namespace.
pub const CONFIGMAP_TRUST: &str = "outrigger-trust";
/// The mesh-wide settings' ConfigMap, in our own namespace.
pub const CONFIGMAP_MESH: &str = "outrigger-mesh";
/// The key in [`CONFIGMAP_MESH`].
pub const KEY_MESH: &str = "mesh.yaml";
/// The key in [`CONFIGMAP_PROXY`] that holds a document of format 1.
pub const KEY_PROXY_V1: &str = "proxy.v1.json";
/// A document larger than this is not written: a ConfigMap holds 1 MiB (Kubernetes docs, ConfigMap), and the object
/// around it needs room.
pub const DOCUMENT_MAX_BYTES: usize = 900 * 1024;

/// The proxy's user id. Only uid *and* gid together are exempt from capture.
pub const PROXY_UID: u32 = 1337;
/// The proxy's group id.
pub const PROXY_GID: u32 = 1337;
/// The init container's user and group id ("nobody" by convention).
pub const INIT_UID: u32 = 65534;

/// Outbound listener: captured connections of the Pod's own programs.
pub const PORT_OUTBOUND: u16 = 15001;
/// Inbound listener: captured connections to the Pod.
pub const PORT_INBOUND: u16 = 15006;
/// Admin, on 127.0.0.1 and ::1 alone.
pub const PORT_ADMIN: u16 = 15000;
/// Prometheus metrics and the application's rewritten probes.
pub const PORT_METRICS: u16 = 15020;
/// The proxy's own health.
pub const PORT_HEALTH: u16 = 15021;
/// The control plane's webhooks.
pub const PORT_WEBHOOK: u16 = 10250;
/// None of these is ever redirected into the inbound listener, and no connection is forwarded to one.
pub const OWN_PORTS: [u16; 5] = [PORT_ADMIN, PORT_OUTBOUND, PORT_INBOUND, PORT_METRICS, PORT_HEALTH];

/// Where the proxy connects from when it passes an inbound connection on to the Pod's own address (IPv4).
pub const PASSTHROUGH_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
/// The same for IPv6; `outrigger-init` puts it on `lo`.
pub const PASSTHROUGH_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// Mounts of `outrigger-proxy`: the directory of [`CONFIGMAP_PROXY`].
pub const PATH_CONFIG: &str = "/etc/outrigger/config";
/// The downward API's directory; its file `labels` holds the Pod's labels.
pub const PATH_POD: &str = "/etc/outrigger/pod";
/// The trust bundle's directory.
pub const PATH_TRUST: &str = "/etc/outrigger/trust";
/// The directory of the token with audience [`TOKEN_AUDIENCE`].
pub const PATH_TOKEN: &str = "/var/run/secrets/outrigger.dev";
/// A small emptyDir in memory: the last good document is kept here.
pub const PATH_STATE: &str = "/run/outrigger";
/// The audience of the token with which a proxy proves who it is.
pub const TOKEN_AUDIENCE: &str = "outrigger-ca";

/// Header of ours on a 503 that says: this request provably never reached the application. Stripped from what
/// applications answer.
pub const HEADER_UNDELIVERED: &str = "x-outrigger-undelivered";
