#!/bin/bash
# build.sh [--only NAME,...] [--out FOLDER]: puts programs that are already built into images, which it
# writes to target/images/NAME.tar. It compiles nothing: our own static binaries are cargo's affair
# (`make images` runs both). What comes from Debian it lets e2e/cluster/deps.sh unpack, as root, once.
set -euo pipefail

# shellcheck source=SCRIPTDIR/../e2e/cluster/lib/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/../e2e/cluster/lib/settings.sh"
# shellcheck source=SCRIPTDIR/../e2e/cluster/lib/cache.sh
source "$CLUSTER_DIR/lib/cache.sh"

REPOSITORY=$(dirname "$IMAGES_DIR")
TARGET=${CARGO_TARGET_DIR:-$REPOSITORY/target}

# The first Python that has tomllib; a version manager may shadow the system's with an older one.
python() {
  local candidate
  for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import tomllib' 2>/dev/null; then
      "$candidate" "$@"
      return
    fi
  done
  echo "build.sh: needs Python 3.11 or later; this machine's is $(python3 --version 2>&1)" >&2
  return 1
}

[[ -d $(debian_dir) ]] || ((EUID != 0)) || "$CLUSTER_DIR/deps.sh" images

python "$IMAGES_DIR/build.py" \
  --release "$TARGET/x86_64-unknown-linux-gnu/release" \
  --kubernetes "$(kubernetes_dir)" \
  --debian "$(debian_dir)" \
  --out "$TARGET/images" "$@"
