#!/bin/bash
# node-init.sh PAUSE: what process 1 of the node does first. It runs inside the node's fresh namespaces,
# gives them a file system and a network, and then becomes PAUSE. It starts no daemon.
#
# The node's file system is the machine's, except that /run, /var/lib and /var/log are folders of the
# cluster's state. So every program keeps its customary paths (/var/lib/kubelet, /var/log/containers,
# /run/containerd, /var/lib/cni ...), and the machine's own folders of these names never change.
set -euo pipefail

# shellcheck source=SCRIPTDIR/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
PAUSE=$1

file_system() {
  mount -t proc -o nosuid,nodev,noexec proc /proc
  mount --bind "$NODE_FILES/lib" /var/lib
  mount --bind "$NODE_FILES/log" /var/log
  mount --bind "$NODE_FILES/run" /run
  # Shared below the node, so that kubelet's volumes reach containerd; private towards the machine
  # (unshare did that), so that they don't reach anybody else.
  mount --make-rshared /
}

# The network has no way out: its uplink is a pair of virtual interfaces whose other end leads nowhere
# (not a `dummy` device, which small kernels lack). The routes exist so that the node has a default
# address, without which kubelet and Services don't work.
network() {
  ip link set lo up
  ip link add eth0 type veth peer name eth0-nowhere
  ip link set eth0-nowhere up
  ip address add "$NODE_IP/24" dev eth0
  ip address add "$NODE_IP6/64" dev eth0 nodad
  ip link set eth0 up
  ip route add default via "${NODE_IP%.*}.254" dev eth0
  ip -6 route add default via "${NODE_IP6%::*}::fe" dev eth0
  sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.route_localnet=1
  # A Pod's call to a Service that ends in a Pod of the same bridge must pass kube-proxy's rules.
  sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
}

file_system
network
touch "$NODE_FILES/ready"
exec "$PAUSE"
