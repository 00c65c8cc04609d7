# lock.sh: one `up`, `down` or restart at a time. The lock is an open file that the script's children
# inherit: when a script is killed, the next one waits until the last of its short-lived children has
# ended. What is meant to stay (the daemons) is started with the file closed (`9>&-`).
# shellcheck shell=bash

take_lock() {
  mkdir -p "$STATE_ROOT"
  exec 9>>"$LOCK"
  flock -n 9 && return
  say "another up or down is at work on $STATE; waiting for it"
  flock -w 180 9 || die "another up or down has held $LOCK for 3 minutes" "find it with: fuser -v $LOCK"
}
