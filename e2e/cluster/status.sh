#!/bin/bash
# status.sh: says how the cluster is, daemon by daemon. It changes nothing and waits for nobody.
# Its exit code is 0 when all is well, 1 when the cluster is half dead, 3 when it is down.
set -euo pipefail

for part in settings report manifest cache node daemons teardown condition; do
  # shellcheck source=/dev/null
  source "$(dirname "${BASH_SOURCE[0]}")/lib/$part.sh"
done

# daemon_line NAME PROCESSES
daemon_line() {
  local pid memory ready=ready
  pid=$(awk -v name="$1" '$2 == name { print $1; exit }' <<<"$2")
  if [[ -z $pid ]]; then
    printf '%-25s not running\n' "$1"
    return
  fi
  memory=$(awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$pid/status")
  daemon_ready "$1" >/dev/null 2>&1 || ready="not ready"
  printf '%-25s pid %-8s %4s MiB  %s\n' "$1" "$pid" "$memory" "$ready"
}

main() {
  must_be_root
  local word daemon processes
  word=$(condition)
  echo "cluster: $word"
  [[ $word != down ]] || exit 3
  echo "state:      $STATE"
  echo "kubeconfig: $KUBECONFIG_ADMIN"
  processes=$(processes_of_node)
  for daemon in "${DAEMONS[@]}"; do
    daemon_line "$daemon" "$processes"
  done
  [[ $word == healthy ]]
}

main
