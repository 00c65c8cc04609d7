# condition.sh: in one word, how the cluster is: down, healthy, or half-dead.
# shellcheck shell=bash

condition() {
  if ! there_is_state; then
    echo down
  elif { recorded_node && all_daemons_run && daemon_ready kube-apiserver && daemon_ready kubelet; } >/dev/null 2>&1; then
    echo healthy
  else
    echo half-dead
  fi
}

all_daemons_run() {
  local daemon running
  running=$(processes_of_node)
  for daemon in "${DAEMONS[@]}"; do
    grep -q " $daemon\$" <<<"$running" || return 1
  done
}
