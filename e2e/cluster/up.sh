#!/bin/bash
# up.sh: a real Kubernetes of one node, dual-stack, in a network namespace with no way out. About ten
# seconds, after a first run that installs (deps.sh) and builds (build.sh) what is missing.
#
# It loads no image but the sandbox's (load.sh does) and installs nothing of Outrigger. Run again, it
# leaves a healthy cluster alone and replaces a half-dead one.
set -euo pipefail

for part in settings report manifest lock cache node cgroups sysctls pki config daemons teardown condition; do
  # shellcheck source=/dev/null
  source "$(dirname "${BASH_SOURCE[0]}")/lib/$part.sh"
done

usable_place() {
  must_be_root
  case $STATE/ in
    /run/* | /var/run/* | /var/lib/* | /var/log/*)
      die "OUTRIGGER_STATE can't be below ${STATE%/*}: the node has folders of its own there" "choose another, such as /var/tmp/outrigger" ;;
  esac
}

# The manifest comes first, and says of which start of the machine it speaks.
begin_state() {
  umask 022
  mkdir -p "$STATE"
  chmod 700 "$STATE"
  record boot "$(cat /proc/sys/kernel/random/boot_id)"
  mkdir -p "$LOGS"
}

load_pause_image() {
  "$IMAGES_DIR/build.sh" --only pause --out "$STATE" >"$LOGS/pause-image.log" 2>&1 ||
    die "the sandbox image could not be built: $(tail -n 3 "$LOGS/pause-image.log")" "try $IMAGES_DIR/build.sh --only pause"
  in_node ctr --namespace k8s.io images import --snapshotter overlayfs - <"$STATE/pause.tar" >>"$LOGS/pause-image.log" 2>&1 ||
    die_of_daemon containerd "containerd refused the sandbox image"
}

# Pods can be created once their namespace has its default service account.
default_service_account_exists() {
  admin get serviceaccount default
}

# The order is of what takes long and what waits for whom: containerd and etcd need nobody, the API
# server needs etcd, and everything else talks to the API server.
bring_up() {
  begin_state
  create_cgroups
  record_sysctls
  start_node
  start_daemon etcd
  write_config
  start_daemon containerd
  create_pki
  say "certificates and configuration are written"
  wait_for 30 etcd "etcd is healthy" daemon_ready etcd
  start_daemon kube-apiserver
  wait_for 30 containerd "containerd answers" daemon_ready containerd
  load_pause_image
  say "sandbox image is loaded"
  wait_for 90 kube-apiserver "API server is ready" daemon_ready kube-apiserver
  start_daemon kube-controller-manager
  start_daemon kube-scheduler
  start_daemon kubelet
  start_daemon kube-proxy
  start_daemon coredns
  say "the other daemons are started"
  wait_for 60 kubelet "node is Ready" daemon_ready kubelet
  wait_for 30 kube-proxy "kube-proxy has written its rules" daemon_ready kube-proxy
  wait_for 30 coredns "CoreDNS is ready" daemon_ready coredns
  wait_for 30 kube-controller-manager "namespace default has its service account" default_service_account_exists
}

main() {
  usable_place
  take_lock
  local word
  word=$(condition)
  case $word in
    healthy)
      say "the cluster is already up (KUBECONFIG=$KUBECONFIG_ADMIN)"
      return
      ;;
    half-dead)
      say "found a cluster that is half dead; removing it"
      tear_down
      ;;
  esac
  "$CLUSTER_DIR/deps.sh"
  "$CLUSTER_DIR/build.sh"
  bring_up
  say "the cluster is up: $CLUSTER_DIR/exec.sh kubectl get nodes"
}

main
