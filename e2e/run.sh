#!/bin/bash
# run.sh [TEST-FILTER]: the end-to-end suite on a real cluster. CLUSTER=local|kind|current chooses it; unset: kind where a
# Docker engine answers, else the local one. KEEP=1 leaves the cluster up. The tests themselves know only a kubeconfig.
set -euo pipefail
cd "$(dirname "$0")/.."
source e2e/lib.sh

main() {
  need_tools
  # the cluster itself first, unless only some tests were asked for
  if [ "$CLUSTER" = local ] && (($# == 0)); then e2e/cluster/lifecycle-test.sh; fi
  make --no-print-directory images
  cargo test --locked --quiet --no-run -p e2e --features cluster --test 'cluster_*'
  trap finish EXIT
  cluster_up
  load_images
  install_outrigger
  # the suite is built already; inside the cluster's network there is no registry to ask
  in_cluster cargo test --locked --offline -p e2e --features cluster --test 'cluster_*' -- "$@"
}

finish() {
  local status=$?
  ((status == 0)) || show_control_plane
  if [ "${KEEP:-}" ]; then
    echo "the cluster stays up (KEEP is set); take it down with: make clean-cluster"
  else
    cluster_down
  fi
  exit "$status"
}

main "$@"
