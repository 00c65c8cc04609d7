# node.sh: the node, that is a network, a mount and a process namespace of their own, held by one process.
#
#   unshare            the recorded process, in the machine's own process namespace
#    └─ pause          process 1 of the node; it dies with `unshare`, and with it, by the kernel's
#        ├─ etcd       own rule for process namespaces, every process of the node
#        ├─ containerd, its shims, the Pods' containers ...
#
# So a `down` is one kill, whatever state the cluster is in: there are no leftovers to search by name.
# No namespace is bound to a file, so none outlives its processes.
# shellcheck shell=bash

start_node() {
  mkdir -p "$NODE_FILES"/{run,lib,log} "$LOGS"
  # The shell records itself, then becomes `unshare`: the pid is in the manifest before the node exists.
  # shellcheck disable=SC2016  # expanded by the inner shell
  setsid bash -c '
    source "$1/lib/settings.sh"; source "$1/lib/manifest.sh"
    record node $$ "$(start_time $$)"
    exec unshare --net --mount --propagation private --pid --fork --kill-child "$1/lib/node-init.sh" "$2"
  ' start_node "$CLUSTER_DIR" "$(kubernetes_dir)/pause" >"$LOGS/node.log" 2>&1 </dev/null 9>&- &
  # shellcheck disable=SC2034  # daemon_runs asks it
  DAEMON_PIDS[node]=$!
  wait_for 20 node "node: namespaces and network" test -e "$NODE_FILES/ready"
}

# node_init: the pid (as the machine sees it) of the node's process 1.
node_init() {
  local node
  node=$(recorded_node) && pgrep -P "$node" | head -n 1 | grep .
}

# in_node COMMAND...: runs it inside all the node's namespaces.
in_node() {
  local init
  init=$(node_init) || die "the cluster is not up" "run $CLUSTER_DIR/up.sh"
  nsenter --target "$init" --net --mount --pid -- "${WITHOUT_PROXIES[@]}" PATH="$NODE_PATH" "$@"
}

# in_network COMMAND...: runs it in the node's network namespace only, with the machine's own files.
# (`ip netns exec` would not do: it hides /sys/fs/cgroup.)
in_network() {
  local init
  init=$(node_init) || die "the cluster is not up" "run $CLUSTER_DIR/up.sh"
  nsenter --net="/proc/$init/ns/net" -- "${WITHOUT_PROXIES[@]}" "$@"
}

# processes_of_node: "PID NAME" of every process in it, by its process namespace and not by its name.
# A Pod's container has a process namespace below the node's, so it is not listed; its shim is.
processes_of_node() {
  local init namespace path pid name
  init=$(node_init) || return 0
  namespace=$(readlink "/proc/$init/ns/pid") || return 0
  while IFS= read -r path; do
    pid=${path#/proc/}
    pid=${pid%%/*}
    IFS= read -r -d '' name 2>/dev/null <"/proc/$pid/cmdline" || continue
    echo "$pid ${name##*/}"
  done < <(find /proc -mindepth 3 -maxdepth 3 -path '/proc/[0-9]*/ns/pid' -lname "${namespace/\[/\\[}" 2>/dev/null)
}

# stop_node: ends every process of the node and waits until the last one is gone.
stop_node() {
  local node init
  node=$(recorded_node) || return 0
  init=$(node_init) || init=
  kill -KILL "$node"
  local deadline=$((SECONDS + 30))
  while start_time "$node" >/dev/null || { [[ -n $init ]] && start_time "$init" >/dev/null; }; do
    ((SECONDS < deadline)) || die "processes of the node survive SIGKILL (pid $node)" "look at /proc/$node/stack"
    sleep 0.05
  done
}
