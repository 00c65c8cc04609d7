#!/bin/bash
# down.sh: removes the cluster and all that `up.sh` created, whatever state it is in. Nothing that the
# manifest doesn't name is touched, and caches stay. Run when nothing is up, it says so and succeeds.
set -euo pipefail

for part in settings report manifest lock cache node cgroups sysctls teardown; do
  # shellcheck source=/dev/null
  source "$(dirname "${BASH_SOURCE[0]}")/lib/$part.sh"
done

main() {
  must_be_root
  take_lock
  if ! there_is_state; then
    say "the cluster is not up"
    return
  fi
  tear_down
  say "the cluster is down"
}

main
