# cgroups.sh: a cgroup root of our own, in every hierarchy, for the kubelet to put Pods into.
# Below it the kubelet and runc make what they like; nothing outside it is ever created or removed.
# shellcheck shell=bash

# hierarchies: "TYPE PATH" of each mounted cgroup file system.
hierarchies() {
  awk '$3 == "cgroup" || $3 == "cgroup2" { print $3, $2 }' /proc/self/mounts
}

create_cgroups() {
  local type path
  while read -r type path; do
    record cgroup "$path/$CGROUP_NAME"
    if [[ $type == cgroup2 ]]; then
      delegate_controllers "$path"
    fi
    mkdir -p "$path/$CGROUP_NAME"
    # In version 1 a cpuset starts empty, and then nothing may run in it.
    if [[ -e $path/$CGROUP_NAME/cpuset.cpus && $type == cgroup ]]; then
      cat "$path/cpuset.cpus" >"$path/$CGROUP_NAME/cpuset.cpus"
      cat "$path/cpuset.mems" >"$path/$CGROUP_NAME/cpuset.mems"
    fi
  done < <(hierarchies)
}

# In version 2 a child has a controller only if its parent hands it down. A controller that can't be
# handed down is left out here, and the kubelet says so if it needs it.
delegate_controllers() {
  local controller controllers
  read -ra controllers <"$1/cgroup.controllers"
  for controller in "${controllers[@]}"; do
    { echo "+$controller" >"$1/cgroup.subtree_control"; } 2>/dev/null || true
  done
}

# remove_cgroups: the recorded ones, deepest first. The processes in them are dead, but the kernel may
# need a moment to see them off.
remove_cgroups() {
  local cgroup deadline=$((SECONDS + 10))
  while IFS= read -r cgroup; do
    # Only a path that `up` can have made: the manifest is a file, and files can be damaged.
    [[ $cgroup == /sys/fs/cgroup/*/outrigger-* || $cgroup == /sys/fs/cgroup/outrigger-* ]] || continue
    while [[ -d $cgroup ]]; do
      find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null && break
      ((SECONDS < deadline)) || die "cgroup $cgroup can't be removed" "see who is in it: find $cgroup -name cgroup.procs | xargs cat"
      sleep 0.05
    done
  done < <(recorded cgroup)
}
