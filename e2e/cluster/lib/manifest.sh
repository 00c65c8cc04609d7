# manifest.sh: the list of everything that `up` creates outside its state folder, each line written
# before the thing exists. `down` undoes these lines and nothing else.
#
#   boot ID              the kernel's boot id: after a restart of the machine no process below is ours
#   node PID START       the process whose end ends the node (lib/node.sh); START is its start time in
#                        ticks, so that a stranger who was given the same pid later is never touched
#   cgroup PATH          a cgroup made for the Pods; the kubelet fills it
#   sysctl KEY OLD NEW   a setting of the whole machine that the kubelet changes from OLD to NEW
#
# The list is this short because all else, that is network namespaces, mounts, CNI's cache, links to
# logs and every process, lives inside the node's own namespaces or the state folder, and ends with them.
# shellcheck shell=bash

record() {
  printf '%s\n' "$*" >>"$MANIFEST"
}

# recorded KIND: what follows the kind, a line for each.
recorded() {
  [[ ! -e $MANIFEST ]] || sed -n "s/^$1 //p" "$MANIFEST"
}

# start_time PID: field 22 of /proc/PID/stat; the name in field 2 may hold blanks, so cut after it.
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # shellcheck disable=SC2086  # splitting into fields is the point
  set -- ${stat##*) }
  # A zombie is gone: it only waits to be reaped, which on some machines takes its parent seconds.
  [[ $1 != [ZX] ]] || return 1
  echo "${20}"
}

# recorded_node: the pid of the node's process, if it is alive and is the one that was recorded.
recorded_node() {
  local pid start
  [[ $(recorded boot) == "$(cat /proc/sys/kernel/random/boot_id)" ]] || return 1
  read -r pid start < <(recorded node) || return 1
  [[ $(start_time "$pid") == "$start" ]] || return 1
  echo "$pid"
}
