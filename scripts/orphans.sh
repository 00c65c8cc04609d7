#!/bin/bash
# orphans.sh: finds .rs files that are in no module, and so are never compiled. It trusts the compiler: the dep-info files
# of the last `cargo clippy --all-targets` name every file that was read.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}

compiled=$(find "$target/debug" -name '*.d' | xargs -r cat |
  tr ' ' '\n' | grep -E '\.rs:?$' | sed -E "s#:\$##; s#^$PWD/##" | sort -u)
orphans=$(comm -23 <(git ls-files --cached --others --exclude-standard '*.rs' | sort) <(echo "$compiled"))
if [ -n "$orphans" ]; then
  echo "orphans: in no module, so never compiled (name them in a mod, or delete them):" >&2
  echo "$orphans" >&2
  exit 1
fi
echo "orphans: none"
