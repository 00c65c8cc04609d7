# teardown.sh: removing a cluster in whatever state it is: whole, half started, half dead, or only a
# folder after a restart of the machine. It works from the manifest alone (lib/manifest.sh).
# shellcheck shell=bash

# there_is_state: is there anything of ours to remove? A folder without a manifest is somebody else's.
there_is_state() {
  [[ -e $STATE ]] || return 1
  [[ -e $MANIFEST || -z $(ls -A "$STATE") ]] ||
    die "$STATE is not empty and has no manifest, so it isn't ours to remove" "move it away, or set OUTRIGGER_STATE"
}

tear_down() {
  stop_node
  remove_cgroups
  restore_sysctls
  # The node's mounts were in its own namespace and are gone with it; --one-file-system is for the case
  # that somebody has mounted something here.
  rm -rf --one-file-system "$STATE"
}
