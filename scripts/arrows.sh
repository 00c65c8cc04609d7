#!/bin/bash
# arrows.sh: holds the arrows of ARCHITECTURE.md between our crates, and keeps Kubernetes out of the proxy's side. It
# looks at normal and build dependencies; tests may use what they like.
set -euo pipefail
cd "$(dirname "$0")/.."

# crate: what of ours it may import
declare -A allowed=(
  [mesh-config]=""
  [mesh-runtime]=""
  [crds]="mesh-config"
  [mesh-kube]="mesh-config mesh-runtime"
  [proxy-core]="mesh-config"
  [init-iptables]="mesh-config"
  [outrigger-proxy]="mesh-config mesh-runtime proxy-core"
  [injector]="mesh-config mesh-kube mesh-runtime"
  [operator]="crds injector mesh-config mesh-kube mesh-runtime"
  [outrigger]="crds init-iptables injector mesh-config mesh-kube mesh-runtime operator proxy-core"
  [e2e]="crds init-iptables injector mesh-config mesh-kube mesh-runtime operator proxy-core"
)
# crates that must run without Kubernetes, and so never see its client
without_kubernetes="mesh-config mesh-runtime proxy-core init-iptables outrigger-proxy"

failed=0
say() { echo "arrows: $*" >&2; failed=1; }

direct() { cargo tree --quiet --locked --package "$1" --edges normal,build --depth "$2" --prefix none --format '{p}' | sort -u; }

for crate in "${!allowed[@]}"; do
  while read -r import; do
    [ "$import" = "$crate" ] && continue
    [[ " ${allowed[$crate]} " == *" $import "* ]] ||
      say "$crate imports $import; it may import: ${allowed[$crate]:-nothing of ours}"
  done < <(direct "$crate" 1 | sed -nE "s#^([a-z0-9-]+) v[0-9.]+ \($PWD/.*#\1#p")
done

members=$(cargo metadata --quiet --locked --no-deps --format-version 1 | python3 -c 'import json,sys; [print(p["name"]) for p in json.load(sys.stdin)["packages"]]')
for crate in $members; do
  [ -n "${allowed[$crate]+known}" ] || say "$crate has no line here; say what it may import"
done

for crate in $without_kubernetes; do
  if direct "$crate" 99 | grep -E '^(kube|k8s-openapi)[ -]'; then
    say "$crate sees Kubernetes; the proxy's side must run without it"
  fi
done

((failed == 0)) && echo "arrows: ${#allowed[@]} crates hold theirs"
exit "$failed"
