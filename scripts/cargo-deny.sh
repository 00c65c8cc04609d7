#!/bin/bash
# cargo-deny.sh ARGS: runs cargo-deny of the pinned version, built once into a cache outside the checkout. Built without
# optimisation: it runs for a second, and building it fast would take five minutes.
set -euo pipefail

version=0.20.2
root="${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outrigger}/tools/cargo-deny-$version"

if [ ! -x "$root/bin/cargo-deny" ]; then
  echo "building cargo-deny $version (once; two to four minutes)" >&2
  mkdir -p "$root"
  exec 9> "$root.lock"
  flock 9
  [ -x "$root/bin/cargo-deny" ] || env -u CARGO_TARGET_DIR \
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 \
    CARGO_PROFILE_RELEASE_DEBUG=false \
    cargo install --quiet --locked --no-default-features --root "$root" "cargo-deny@$version"
fi
exec "$root/bin/cargo-deny" "$@"
