# config.sh: the files that the daemons read. What can be said with a flag is in lib/daemons.sh.
# shellcheck shell=bash

write_config() {
  mkdir -p "$CONFIG/cni"
  bridge_network >"$CONFIG/cni/10-bridge.conflist"
  containerd_config >"$CONFIG/containerd.toml"
  kubelet_config >"$CONFIG/kubelet.yaml"
  coredns_config >"$CONFIG/Corefile"
  echo "nameserver $NODE_IP" >"$CONFIG/resolv.conf"
}

# No masquerading: whoever is called sees the caller's own address.
bridge_network() {
  cat <<JSON
{
  "cniVersion": "0.4.0",
  "name": "outrigger-e2e",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "$NODE_POD_CIDR"}], [{"subnet": "$NODE_POD_CIDR6"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON
}

# Version 2 of the format is understood by containerd 1.6, 1.7 and 2.x.
containerd_config() {
  cat <<TOML
version = 2
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri",
]

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  disable_apparmor = true
  enable_selinux = false
  # Lowering an OOM score takes CAP_SYS_RESOURCE, which root in a container or a small VM may lack.
  restrict_oom_score_adj = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$CNI_PLUGINS"
    conf_dir = "$CONFIG/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        # By its path: containerd would take crun where both are, and crun refuses this set-up.
        BinaryName = "$(PATH=$NODE_PATH command -v runc)"
        SystemdCgroup = false
TOML
}

# syncFrequency stays at the kubelet's default of a minute, because how long a changed ConfigMap takes
# to reach a running Pod is something that tests must meet as users do.
kubelet_config() {
  cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $PKI/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-serving.crt
tlsPrivateKeyFile: $PKI/kubelet-serving.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP_NAME
failCgroupV1: false
failSwapOn: false
clusterDomain: $CLUSTER_DOMAIN
clusterDNS: [$NODE_IP]
resolvConf: $CONFIG/resolv.conf
volumePluginDir: /var/lib/kubelet/volume-plugins
# Images are loaded, never pulled: one that is collected could not come back.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
nodeStatusUpdateFrequency: 2s
serializeImagePulls: false
maxParallelImagePulls: 2
YAML
}

# Answers for the cluster's names only; there is nobody outside to ask. The short times let a test see
# a changed Service at once.
coredns_config() {
  cat <<COREFILE
.:53 {
  bind $NODE_IP $NODE_IP6
  errors
  ready 127.0.0.1:8181
  kubernetes $CLUSTER_DOMAIN in-addr.arpa ip6.arpa {
    kubeconfig $PKI/admin.kubeconfig
    pods insecure
    ttl 1
  }
  cache 5
}
COREFILE
}
