#!/bin/bash
# daemon.sh stop|start NAME: takes one daemon of the running cluster away, the hard way, or brings it
# back and waits until it is ready. For tests of what happens while a part of Kubernetes is missing.
# `status.sh` lists the names. The cluster counts as half dead meanwhile.
set -euo pipefail

for part in settings report manifest lock cache node daemons; do
  # shellcheck source=/dev/null
  source "$(dirname "${BASH_SOURCE[0]}")/lib/$part.sh"
done

# With SIGKILL: the API server, asked politely, would take seconds to see its watchers off.
stop() {
  local pid
  pid=$(daemon_pid "$1") || die "$1 does not run" "look at $CLUSTER_DIR/status.sh"
  kill -KILL "$pid"
  while start_time "$pid" >/dev/null; do
    sleep 0.05
  done
  say "$1 is stopped"
}

start() {
  ! daemon_pid "$1" >/dev/null || die "$1 runs already"
  start_daemon "$1"
  wait_for 60 "$1" "$1 is ready" daemon_ready "$1"
}

main() {
  must_be_root
  [[ $# == 2 && $1 =~ ^(stop|start)$ ]] || die "usage: $0 stop|start NAME"
  [[ " ${DAEMONS[*]} " == *" $2 "* ]] || die "there is no daemon $2; there are: ${DAEMONS[*]}"
  take_lock
  node_init >/dev/null || die "the cluster is not up" "run $CLUSTER_DIR/up.sh"
  "$1" "$2"
}

main "$@"
