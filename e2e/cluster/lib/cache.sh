# cache.sh: which folder of the cache holds what this checkout needs. A folder is named by a hash of
# its inputs and appears whole (built beside, then renamed), so that it is either right or absent.
# Nothing is built here: see build.sh and deps.sh.
# shellcheck shell=bash

# What the demo and the tests run, from Debian, unpacked and never installed.
DEBIAN_PACKAGES=(nginx redis-server curl nghttp2-client busybox-static)

kubernetes_dir() {
  local key
  key=$(cd "$CLUSTER_DIR" && cat build.sh kube/go.mod kube/go.sum kube/*/main.go \
    coredns/go.mod coredns/go.sum coredns/main.go pause/pause.c | sha256sum)
  echo "$CACHE/kubernetes/${key:0:16}"
}

debian_dir() {
  local key
  key=$({ grep -E '^(ID|VERSION_ID)=' /etc/os-release; uname -m; echo "${DEBIAN_PACKAGES[@]}"; } | sha256sum)
  echo "$CACHE/debian/${key:0:16}"
}

# kubectl: deps.sh puts one into the cache where the machine's own is missing or too old.
kubectl_path() {
  PATH=$CACHE/bin:$PATH command -v kubectl
}

# remove_others KEPT: the siblings of the folder KEPT, except one that something still runs from.
remove_others() {
  local folder
  for folder in "$(dirname "$1")"/*/; do
    folder=${folder%/}
    if [[ $folder == "$1" ]] || find /proc -mindepth 2 -maxdepth 2 -name exe -lname "$folder/*" 2>/dev/null | grep -q .; then
      continue
    fi
    rm -rf "$folder"
  done
}
