# sysctls.sh: the settings of the whole machine that a kubelet changes when it starts. They belong to
# no namespace, so they are written down before and put back after. Those of the node's network
# namespace need no such care.
# shellcheck shell=bash

# What the kubelet sets, key and value (its `setupKernelTunables`).
KUBELET_SYSCTLS=(
  vm.overcommit_memory=1
  vm.panic_on_oom=0
  kernel.panic=10
  kernel.panic_on_oops=1
  kernel.keys.root_maxkeys=1000000
  kernel.keys.root_maxbytes=25000000
)

record_sysctls() {
  local setting key value
  for setting in "${KUBELET_SYSCTLS[@]}"; do
    key=${setting%%=*}
    value=$(sysctl -n "$key" 2>/dev/null) || continue
    [[ $value == "${setting#*=}" ]] || record sysctl "$key" "$value" "${setting#*=}"
  done
}

# A value that somebody else has changed in the meantime stays as they want it.
restore_sysctls() {
  local key old new
  while read -r key old new; do
    [[ $(sysctl -n "$key") != "$new" ]] || sysctl -qw "$key=$old"
  done < <(recorded sysctl)
}
