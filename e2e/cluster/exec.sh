#!/bin/bash
# exec.sh COMMAND...: runs a command inside the cluster's network, where Pods, Services, the node and
# the API server can be reached directly and names are the cluster's, with KUBECONFIG set and kubectl in
# PATH. Processes and files are the machine's own: this is not a shell inside the node.
set -euo pipefail

for part in settings report manifest cache node; do
  # shellcheck source=/dev/null
  source "$(dirname "${BASH_SOURCE[0]}")/lib/$part.sh"
done

must_be_root
(($# > 0)) || die "no command" "for example: $0 kubectl get pods --all-namespaces"
init=$(node_init) || die "the cluster is not up" "run $CLUSTER_DIR/up.sh"
export KUBECONFIG=$KUBECONFIG_ADMIN KUBECACHEDIR=$KUBECTL_CACHE PATH=$CACHE/bin:$PATH
# The machine's own name servers can't be reached from here, and whoever asked them would hang; so, for
# this command only, the cluster's DNS takes their place.
# shellcheck disable=SC2016  # expanded by the inner shell
exec "${WITHOUT_PROXIES[@]}" nsenter --net="/proc/$init/ns/net" -- unshare --mount --propagation private \
  sh -ec '[ ! -e /etc/resolv.conf ] || mount --bind "$0" /etc/resolv.conf; exec "$@"' "$CONFIG/resolv.conf" "$@"
