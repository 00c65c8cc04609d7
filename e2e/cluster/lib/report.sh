# report.sh: how the cluster's scripts speak: progress, waiting, and failing with a reason.
# It decides nothing about the cluster; what a failed step leaves behind is `down`'s affair.
# shellcheck shell=bash

STARTED_AT=${EPOCHREALTIME/[.,]/}

# The time since the script began is part of every line, so that a slow step shows without a stopwatch.
say() {
  printf '[%6d ms] %s\n' $(((${EPOCHREALTIME/[.,]/} - STARTED_AT) / 1000)) "$*"
}

# die WHAT [WHAT-TO-DO]
die() {
  printf '%s: FAILED: %s\n' "$(basename "$0")" "$1" >&2
  [[ -z ${2:-} ]] || printf 'What to do: %s\n' "$2" >&2
  exit 1
}

must_be_root() {
  ((EUID == 0)) || die "this must run as root" "sudo $0"
}

# die_of_daemon NAME WHAT: a failure that the log of one daemon explains.
die_of_daemon() {
  local log=$LOGS/$1.log
  printf '\n%s: FAILED: %s\n' "$(basename "$0")" "$2" >&2
  printf -- '--- the last 20 lines of %s\n' "$log" >&2
  tail -n 20 "$log" >&2 || true
  printf -- '---\nWhat to do: %s\n' "$(hint_for "$1")" >&2
  echo "What was started still stands, to be looked at; $CLUSTER_DIR/down.sh removes it, and so does the next up.sh." >&2
  exit 1
}

# What usually is the matter when this daemon does not come up.
hint_for() {
  case $1 in
    node) echo "this needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN, network namespaces and veth (in a container: --privileged)." ;;
    etcd) echo "look for a full disk or a file system that refuses mmap below $STATE." ;;
    containerd) echo "below $STATE overlayfs must work (ext4 or xfs; not overlayfs itself): OUTRIGGER_STATE names another place." ;;
    kube-apiserver) echo "etcd's log is $LOGS/etcd.log; a changed Kubernetes version may have dropped a flag (lib/daemons.sh)." ;;
    kubelet) echo "mostly cgroups: the controllers cpu, cpuset, memory and pids must be mounted below /sys/fs/cgroup and writable." ;;
    kube-proxy) echo "iptables, ip6tables and conntrack must work in a network namespace (modules nf_tables, nf_nat, br_netfilter)." ;;
    *) echo "read the log; the API server's is $LOGS/kube-apiserver.log." ;;
  esac
}

# wait_for SECONDS DAEMON WHAT COMMAND...: until the command succeeds. The daemon's end ends the wait:
# nobody waits half a minute for a process that died in its first second.
wait_for() {
  local seconds=$1 daemon=$2 what=$3
  shift 3
  local deadline=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    daemon_runs "$daemon" || die_of_daemon "$daemon" "$daemon ended before it was ready ($what)"
    ((SECONDS < deadline)) || die_of_daemon "$daemon" "$what: not so after $seconds s"
    sleep 0.1
  done
  say "$what"
}
