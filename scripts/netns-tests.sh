#!/bin/bash
# netns-tests.sh: the tests that need root and network namespaces, with the real binaries. They fail, never skip, where
# they can't run.
set -euo pipefail
cd "$(dirname "$0")/.."

if ((EUID != 0)); then
  echo "network-namespace tests need root: sudo make netns" >&2
  exit 1
fi
missing=()
for tool in ip:iproute2 nft:nftables setpriv:util-linux setcap:libcap2-bin curl:curl; do
  command -v "${tool%%:*}" > /dev/null || missing+=("${tool##*:}")
done
if ((${#missing[@]})); then
  echo "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" > /dev/null
fi

cargo build --locked --quiet -p init-iptables -p outrigger-proxy -p e2e --bins
cargo test --locked --quiet -p e2e --features netns --test 'netns_*'
