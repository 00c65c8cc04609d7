#!/bin/bash
# load.sh IMAGE.tar...: makes images known to the node, as if they had been pulled. An image of the same
# name is replaced for Pods that start from now on. It builds nothing (images/build.sh does).
set -euo pipefail

for part in settings report manifest cache node; do
  # shellcheck source=/dev/null
  source "$(dirname "${BASH_SOURCE[0]}")/lib/$part.sh"
done

# import TAR: prints the names of the images in it.
import() {
  local output
  output=$(in_node ctr --namespace k8s.io images import --snapshotter overlayfs - <"$1" 2>&1) ||
    die "$1 could not be loaded: $output" "is it an image tarball, as images/build.sh makes them?"
  sed -nE 's/^unpacking ([^ ]+) .*/\1/p' <<<"$output"
}

# The kubelet sees an image once containerd's Kubernetes side has taken note of it and said so by a label.
known_to_kubelet() {
  in_node ctr --namespace k8s.io images ls "name==$1" | grep -q io.cri-containerd.image=managed
}

main() {
  must_be_root
  local tar image tries
  (($# > 0)) || die "no image" "for example: $0 target/images/*.tar"
  for tar in "$@"; do
    for image in $(import "$tar"); do
      for ((tries = 0; tries < 100; tries++)); do
        known_to_kubelet "$image" && break
        sleep 0.05
      done
      say "$image"
    done
  done
}

main "$@"
