# settings.sh: where the cluster's things are, and the names and addresses in it.
# Values only: sourcing this file creates and starts nothing.
# shellcheck shell=bash disable=SC2034  # the values are used by the files that source this one

CLUSTER_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
IMAGES_DIR=$(cd "$CLUSTER_DIR/../../images" && pwd)

# --- on the machine ---------------------------------------------------------------------------------
CACHE=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/outrigger}
STATE_ROOT=$(realpath -m "${OUTRIGGER_STATE:-/var/tmp/outrigger}")
STATE=$STATE_ROOT/cluster
LOCK=$STATE_ROOT/cluster.lock       # beside the state, because `down` removes the state
MANIFEST=$STATE/manifest            # what `up` has created, line by line, written before it creates it
LOGS=$STATE/logs                    # one log per daemon
CONFIG=$STATE/config
PKI=$STATE/pki
KUBECONFIG_ADMIN=$STATE/kubeconfig
KUBECTL_CACHE=$STATE/kubectl-cache  # or kubectl would fill ~/.kube

# The node's own /run, /var/lib and /var/log; see lib/node-init.sh.
NODE_FILES=$STATE/node

# Every Pod's cgroup lies below a root that carries the state folder's name in a short form, so that
# nobody else's `kubepods` is ever touched and two clusters with two state folders don't meet.
CGROUP_NAME=outrigger-$(printf '%s' "$STATE" | sha256sum | cut -c1-8)

# --- programs: ours from the cache first, then Debian's ---------------------------------------------
NODE_PATH=$CACHE/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CNI_PLUGINS=/usr/lib/cni
# The machine's way out to registries is no way into the cluster; Go programs would try it.
WITHOUT_PROXIES=(env -u http_proxy -u https_proxy -u all_proxy -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY)

# --- in the cluster ---------------------------------------------------------------------------------
NODE_NAME=node1
NODE_IP=10.210.0.1
NODE_IP6=fd00:210::1
POD_CIDRS=10.244.0.0/16,fd00:244::/56      # of the cluster
NODE_POD_CIDR=10.244.0.0/24                # of the one node: the first that the controller hands out
NODE_POD_CIDR6=fd00:244::/64
SERVICE_CIDRS=10.96.0.0/16,fd00:96::/112
KUBERNETES_SERVICE_IP=10.96.0.1            # the first of the Services' addresses, always
API_SERVER=https://$NODE_IP:6443
CLUSTER_DOMAIN=cluster.local
PAUSE_IMAGE=localhost/pause:1

# What runs on the node, in the order in which `up` starts it.
DAEMONS=(etcd containerd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy coredns)
