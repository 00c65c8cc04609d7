#!/bin/bash
# lifecycle-test.sh: do `up` and `down` keep their word? After a `down` the machine is as it was, things
# that only look like ours survive, and a killed or half-dead `up` is put right by the next one.
#
# It uses a state folder of its own, so a cluster that is up stays up. What runs inside the cluster is
# other tests' business: one Pod that gets Ready is enough here. It takes about two minutes.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export OUTRIGGER_STATE=/var/tmp/outrigger-lifecycle-test
export OUTRIGGER_LIFECYCLE_TEST=$$-$RANDOM # inherited by all that `up` starts, so a neighbour's process is not taken for ours

for part in settings report manifest cache node sysctls; do
  # shellcheck source=/dev/null
  source "$HERE/lib/$part.sh"
done

trap 'echo "lifecycle-test.sh: stopped by a failure in line $LINENO" >&2' ERR
WORK=$(mktemp -d)
PASSED=0
FAILED=0

# --- checking ---------------------------------------------------------------------------------------

# check SENTENCE COMMAND...: the sentence is true if the command succeeds.
check() {
  local sentence=$1
  shift
  if "$@" >"$WORK/check" 2>&1; then
    PASSED=$((PASSED + 1))
    echo "ok      $sentence"
  else
    FAILED=$((FAILED + 1))
    echo "FAILED  $sentence"
    tail -n 30 "$WORK/check" | sed 's/^/        /'
  fi
}

# run COMMAND...: keeps output and exit code for the checks below.
run() {
  CODE=0
  "$@" >"$WORK/output" 2>&1 || CODE=$?
}

succeeded() { cat "$WORK/output" && ((CODE == 0)); }
failed() { cat "$WORK/output" && ((CODE != 0)); }
says() { cat "$WORK/output" && grep -q -- "$1" "$WORK/output"; }

# --- the machine, before and after ------------------------------------------------------------------

# snapshot FILE: what a cluster could leave behind; processes are looked for below.
snapshot() {
  (
    set +e # much of it exists on some machines only
    echo "== mounts"
    sort /proc/self/mounts
    echo "== cgroups"
    # The top of each hierarchy: what is further down belongs to others, who come and go.
    cgroup_roots | while read -r root; do
      find "$root" -mindepth 1 -maxdepth 1 -type d
      find "$root/kubepods" -type d
    done | sort
    echo "== network devices"
    ip -brief link | awk '{ print $1 }' | sort
    echo "== named network namespaces"
    ip netns list | sort
    echo "== rules"
    nft list ruleset
    cat /proc/net/ip_tables_names /proc/net/ip6_tables_names
    echo "== settings of the machine"
    sysctl "${KUBELET_SYSCTLS[@]%%=*}" net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.netfilter.nf_conntrack_max
    echo "== files"
    find /run /var/lib /var/log -mindepth 1 -maxdepth 1 | sort
    find /var/lib/{kubelet,cni,etcd,containerd} /var/log/{pods,containers} /run/{netns,containerd} /etc/cni \
      /usr/libexec/kubernetes ~ "$OUTRIGGER_STATE" -maxdepth 3 | sort
    true
  ) >"$1" 2>/dev/null
}

cgroup_roots() {
  awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/self/mounts
}

machine_is_as_before() {
  snapshot "$WORK/after"
  diff "$WORK/before" "$WORK/after"
}

descendants() {
  ps -eo pid=,ppid= | awk -v root="$1" '
    { parent[$1] = $2 }
    END { for (p in parent) for (a = p; a > 1; a = parent[a]) if (a == root) { print p; break } }'
}

# remember_processes: those of the cluster that is up, each with its start time. Containers count too:
# they are descendants of the node's process, though they don't carry our mark.
remember_processes() {
  local process start
  for process in $(descendants "$(recorded_node)"); do
    start=$(start_time "$process") || continue
    echo "$process $start" >>"$WORK/processes"
  done
}

# With no process left, no nameless namespace is left either: mounts, which could hold one too, are in
# the snapshot.
no_process_is_left() {
  local process start left=
  while read -r process start; do
    [[ $(start_time "$process") != "$start" ]] || left+=" $process"
  done <"$WORK/processes"
  for process in $(marked_processes); do
    # Neither a zombie nor what this script itself ran a moment ago.
    start_time "$process" >/dev/null && left+=" $process"
  done
  [[ -z $left ]] || {
    ps -o pid,ppid,stat,args -p "${left# }" | cut -c1-200
    return 1
  }
}

# Those with our mark, except this script and what it is running at the moment.
marked_processes() {
  { grep -lzsx "OUTRIGGER_LIFECYCLE_TEST=$OUTRIGGER_LIFECYCLE_TEST" /proc/[0-9]*/environ || true; } |
    cut -d/ -f3 >"$WORK/marked"
  grep -vxF -f <(descendants $$) "$WORK/marked" || true
}

nothing_is_left() {
  machine_is_as_before && no_process_is_left
}

# --- what only looks like ours ----------------------------------------------------------------------

DECOY_NAMESPACE=cni-decoy-$$
DECOY_LINK=/var/log/containers/decoy_$$.log
DECOY_CGROUPS=()
CREATED_FOLDERS=()

plant_decoys() {
  local path
  [[ -d /run/netns ]] || NETNS_FOLDER_IS_OURS=yes
  ip netns add "$DECOY_NAMESPACE"

  [[ -d ${DECOY_LINK%/*} ]] || CREATED_FOLDERS+=("${DECOY_LINK%/*}")
  mkdir -p "${DECOY_LINK%/*}"
  ln -s /nowhere/decoy.log "$DECOY_LINK"

  while read -r path; do
    [[ ! -d $path/kubepods ]] || continue
    mkdir "$path/kubepods" && DECOY_CGROUPS+=("$path/kubepods")
  done < <(cgroup_roots)

  # A shim by name and by socket, though of another containerd.
  cp "$(command -v sleep)" "$WORK/containerd-shim-runc-v2"
  "$WORK/containerd-shim-runc-v2" 3600 &
  DECOY_SHIM=$!
}

all_decoys_survive() {
  local cgroup lost=
  ip netns list | grep -w "$DECOY_NAMESPACE" || lost+=" network-namespace"
  [[ -L $DECOY_LINK ]] || lost+=" link"
  for cgroup in "${DECOY_CGROUPS[@]}"; do
    [[ -d $cgroup ]] || lost+=" $cgroup"
  done
  kill -0 "$DECOY_SHIM" || lost+=" process"
  echo "lost:$lost"
  [[ -z $lost ]]
}

remove_decoys() {
  kill "$DECOY_SHIM"
  rmdir "${DECOY_CGROUPS[@]}"
  rm "$DECOY_LINK"
  ((${#CREATED_FOLDERS[@]} == 0)) || rmdir "${CREATED_FOLDERS[@]}"
  ip netns delete "$DECOY_NAMESPACE"
  # `ip netns add` makes the folder a mount of its own, the first time.
  [[ -z ${NETNS_FOLDER_IS_OURS:-} ]] || { umount /run/netns && rmdir /run/netns; }
}

# --- the tests, in the order in which they run ------------------------------------------------------

a_pod_gets_ready() {
  "$HERE/exec.sh" kubectl run first --image="$PAUSE_IMAGE" --restart=Never &&
    "$HERE/exec.sh" kubectl wait --for=condition=Ready pod/first --timeout=30s
}

test_from_up_to_down() {
  run "$HERE/up.sh"
  check "up succeeds" succeeded
  check "a Pod gets Ready" a_pod_gets_ready
  check "the kubeconfig is for root alone" test "$(stat -c %a "$KUBECONFIG_ADMIN")" = 600
  remember_processes
  check "status says healthy" "$HERE/status.sh"

  run "$HERE/up.sh"
  check "a second up succeeds" succeeded
  check "... and leaves the cluster alone" says "already up"

  run "$HERE/down.sh"
  check "down succeeds" succeeded
  check "after down the machine is as before" machine_is_as_before
  check "after down no process is left" no_process_is_left
  check "after down the decoys are there" all_decoys_survive

  run "$HERE/down.sh"
  check "a second down succeeds" succeeded
  check "... and says that nothing is up" says "not up"
  run "$HERE/status.sh"
  check "status says down, by its exit code too" test "$CODE" = 3
}

# up_killed_at LINE: starts an `up` and kills it as soon as it has said LINE.
up_killed_at() {
  local up
  : >"$WORK/killed"
  "$HERE/up.sh" >"$WORK/killed" 2>&1 &
  up=$!
  until grep -q -- "$1" "$WORK/killed" || { [[ $1 == manifest ]] && [[ -e $MANIFEST ]]; }; do
    kill -0 "$up" || return 1
    sleep 0.01
  done
  kill -KILL "$up"
  wait "$up" || true
}

test_up_killed_in_the_middle() {
  local line
  for line in manifest "node: namespaces" "etcd is healthy" "containerd answers" "API server is ready" "other daemons are started"; do
    check "up can be killed at '$line'" up_killed_at "$line"
    run "$HERE/up.sh"
    check "... and the next up succeeds" succeeded
    remember_processes
    check "... with a Pod that gets Ready" a_pod_gets_ready
    run "$HERE/down.sh"
    check "... and down leaves nothing" nothing_is_left
  done
  check "up can be killed once more" up_killed_at "other daemons are started"
  remember_processes
  run "$HERE/down.sh"
  check "... and a down alone leaves nothing" nothing_is_left
}

daemon_of_this_cluster() {
  "$HERE/status.sh" | sed -nE "s/^$1 +pid ([0-9]+) .*/\1/p"
}

test_half_dead() {
  run "$HERE/up.sh"
  kill -KILL "$(daemon_of_this_cluster kube-scheduler)"
  run "$HERE/status.sh"
  check "a cluster without its scheduler is half dead" says "cluster: half-dead"
  check "... by the exit code too" test "$CODE" = 1
  run "$HERE/up.sh"
  check "... and up replaces it" says "half dead; removing it"
  check "... by a healthy one" "$HERE/status.sh"

  remember_processes
  kill -KILL "$(recorded_node)"
  run "$HERE/up.sh"
  check "after the node's process is killed, up makes a new cluster" succeeded
  check "... that is healthy" "$HERE/status.sh"

  run "$HERE/daemon.sh" stop kube-apiserver
  check "a daemon can be taken away" succeeded
  run "$HERE/daemon.sh" start kube-apiserver
  check "... and brought back" succeeded
  check "... and then the cluster is healthy" "$HERE/status.sh"
}

# After a restart of the machine, the folder is there and the processes are not; their pids may be
# strangers' by now.
test_after_a_restart_of_the_machine() {
  remember_processes
  kill -KILL "$(recorded_node)"
  sed -i "s/^boot .*/boot 00000000-0000-0000-0000-000000000000/; s/^node .*/node $DECOY_SHIM $(start_time "$DECOY_SHIM")/" "$MANIFEST"
  run "$HERE/down.sh"
  check "down works when only the state folder is left" succeeded
  check "... and leaves nothing" nothing_is_left
  check "... and spares a stranger of the same pid and start time from another boot" kill -0 "$DECOY_SHIM"

  mkdir -p "$STATE"
  record boot "$(cat /proc/sys/kernel/random/boot_id)"
  record node "$DECOY_SHIM" 1
  run "$HERE/down.sh"
  check "a stranger with a recorded pid but another start time is spared too" kill -0 "$DECOY_SHIM"
  check "... and down has succeeded" succeeded
}

test_two_at_once() {
  local first
  "$HERE/up.sh" >"$WORK/first" 2>&1 &
  first=$!
  until [[ -s $WORK/first ]]; do sleep 0.01; done
  run "$HERE/up.sh"
  check "an up beside another up waits for it" says "waiting for it"
  check "... and finds its cluster" says "already up"
  check "... which came up undisturbed" wait "$first"
  remember_processes
  "$HERE/down.sh" >/dev/null
}

test_what_is_not_ours() {
  mkdir -p "$STATE"
  touch "$STATE/somebody-elses"
  run "$HERE/up.sh"
  check "up refuses a folder that is somebody else's" failed
  check "... and says so" says "isn't ours"
  run "$HERE/down.sh"
  check "down refuses it too" failed
  check "... and its file survives" test -e "$STATE/somebody-elses"
  rm -r "$STATE"
}

# A containerd that ends at once stands for every daemon that does not come up.
test_a_step_that_fails() {
  mkdir -p "$WORK/cache/bin"
  ln -s "$CACHE"/{kubernetes,debian} "$WORK/cache/"
  ln -s "$(kubectl_path)" "$WORK/cache/bin/kubectl"
  printf '#!/bin/sh\necho no such luck\nexit 1\n' >"$WORK/cache/bin/containerd"
  chmod +x "$WORK/cache/bin/containerd"
  run env OUTRIGGER_CACHE="$WORK/cache" "$HERE/up.sh"
  check "an up whose containerd does not start fails" failed
  check "... and says which step" says "FAILED: containerd ended before it was ready"
  check "... and shows its log" says "no such luck"
  check "... and says what to do" says "What to do: below $STATE overlayfs must work"
  remember_processes
  run "$HERE/down.sh"
  check "... and down leaves nothing" nothing_is_left
}

# --- all of it --------------------------------------------------------------------------------------

finish() {
  "$HERE/down.sh" >/dev/null 2>&1 || true
  remove_decoys || true
  rm -rf "$WORK" "$OUTRIGGER_STATE/cluster.lock"
  rmdir "$OUTRIGGER_STATE" || true
}

main() {
  "$HERE/deps.sh"
  "$HERE/build.sh"
  "$HERE/down.sh" # of an earlier run that was killed
  # A home of its own shows what kubectl would leave in the user's.
  export OUTRIGGER_CACHE=$CACHE HOME=$WORK/home
  mkdir "$HOME"
  touch "$WORK/processes"
  plant_decoys
  trap finish EXIT
  snapshot "$WORK/before"

  test_from_up_to_down
  test_up_killed_in_the_middle
  test_half_dead
  test_after_a_restart_of_the_machine
  test_two_at_once
  test_what_is_not_ours
  test_a_step_that_fails

  check "at the end the decoys are there" all_decoys_survive
  check "... and the machine is as before" nothing_is_left
  echo "$PASSED passed, $FAILED failed"
  ((FAILED == 0))
}

main
