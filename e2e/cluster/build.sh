#!/bin/bash
# build.sh: builds Kubernetes' five daemons, etcd, CoreDNS and pause from source into the cache, once.
# Five minutes from nothing on two cores, no time at all when they are there. It needs what deps.sh
# installs, and the Go module proxy. It starts nothing.
set -euo pipefail

# shellcheck source=SCRIPTDIR/lib/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/settings.sh"
source "$CLUSTER_DIR/lib/report.sh"
source "$CLUSTER_DIR/lib/cache.sh"

PROGRESS_SECONDS=15
VERSION_VARIABLE=k8s.io/component-base/version

# with_progress WHAT COMMAND...: runs the command; from time to time it says how far it is.
# `go build -v` prints a line for each package, which serves as the measure.
with_progress() {
  local what=$1 started=$SECONDS builder
  shift
  "$@" >"$LOG" 2>&1 &
  builder=$!
  # shellcheck disable=SC2064  # this builder, now
  trap "pkill -P $builder || true" EXIT
  local next=$((SECONDS + PROGRESS_SECONDS))
  while kill -0 "$builder" 2>/dev/null; do
    sleep 0.5
    ((SECONDS < next)) && continue
    next=$((SECONDS + PROGRESS_SECONDS))
    say "$what: $(grep -vc '^go: ' "$LOG" || true) packages compiled, now at $(tail -n 1 "$LOG" | cut -c1-80)"
  done
  trap - EXIT
  if ! wait "$builder"; then
    tail -n 20 "$LOG" >&2
    die "$what could not be built" "see the lines above; modules come through the machine's GOPROXY ($(go env GOPROXY))"
  fi
  say "$what: built in $((SECONDS - started)) s"
}

build_kubernetes() {
  cd "$CLUSTER_DIR/kube"
  local version minor
  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  minor=$(cut -d. -f2 <<<"$version")
  go build -v -tags providerless -trimpath -o "$1/" \
    -ldflags "-s -w -X $VERSION_VARIABLE.gitVersion=$version -X $VERSION_VARIABLE.gitMajor=1 -X $VERSION_VARIABLE.gitMinor=$minor" \
    ./kube ./etcd
  local daemon
  for daemon in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
    ln -s kube "$1/$daemon"
  done
}

build_coredns() {
  cd "$CLUSTER_DIR/coredns"
  go build -v -trimpath -ldflags '-s -w' -o "$1/" .
}

build_pause() {
  cc -static -Os -s -Wall -Wextra -Werror -o "$1/pause" "$CLUSTER_DIR/pause/pause.c"
}

main() {
  local folder unfinished
  folder=$(kubernetes_dir)
  if [[ -d $folder ]]; then
    say "Kubernetes is built: $folder"
    return
  fi

  mkdir -p "$CACHE/kubernetes"
  exec 9>>"$CACHE/kubernetes.lock"
  flock -n 9 || {
    say "another build of Kubernetes is under way; waiting for it"
    flock 9
  }
  [[ ! -d $folder ]] || return 0

  # No commit in the binaries: it would make git necessary, and every checkout's binaries different.
  export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
  PATH=$CACHE/go/bin:$PATH
  unfinished=$folder.unfinished
  LOG=$CACHE/kubernetes/build.log
  rm -rf "$CACHE"/kubernetes/*.unfinished
  mkdir "$unfinished"
  with_progress "pause" build_pause "$unfinished"
  with_progress "Kubernetes and etcd" build_kubernetes "$unfinished"
  with_progress "CoreDNS" build_coredns "$unfinished"
  mv "$unfinished" "$folder"
  remove_others "$folder"
  say "Kubernetes is built: $folder"
}

main
