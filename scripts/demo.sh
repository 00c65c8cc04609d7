#!/bin/bash
# demo.sh up|down: the main job on a real cluster, step by step on the terminal: install, label a namespace, a small shop
# of real programs, a policy and its effect, what the proxies counted and logged. CLUSTER=local|kind|current.
set -euo pipefail
cd "$(dirname "$0")/.."
source e2e/lib.sh

log=${TMPDIR:-/tmp}/outrigger-demo.log
k() { in_cluster kubectl "$@"; }
shop() { k -n shop "$@"; }
# in the shop's meshed client: curl, which nobody here wrote
client() { shop exec deploy/client -c curl -- curl --silent --show-error --max-time 10 "$@"; }

# step TEXT COMMAND...: shows what goes on; a failure prints the last lines and what to do. (Not `if command`: bash would
# then go on after the first thing in it that fails.)
step() {
  local text=$1 started=$SECONDS status
  shift
  printf '\n\033[1m== %s\033[0m\n' "$text"
  set +e
  (
    set -e
    "$@"
  ) 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  set -e
  if ((status != 0)); then
    printf '\n\033[1;31mfailed: %s\033[0m\nthe last lines:\n' "$text" >&2
    tail -n 20 "$log" >&2
    show_control_plane || true
    echo "what to do: look at the lines above; CLUSTER=$CLUSTER; run \`make demo\` again when it is mended, or \`make demo-down\`" >&2
    exit 1
  fi
  echo "   ($((SECONDS - started)) s)"
}

up() {
  step "tools that this machine lacks" need_tools
  step "static binaries and images (the first time: some minutes)" make --no-print-directory images
  step "a cluster ($CLUSTER)" cluster_up
  step "loading images" load_images
  step "installing Outrigger: kubectl apply -k manifests/default" install_outrigger
  step "a namespace with outrigger.dev/inject=enabled, and the shop in it" deploy_shop
  step "requests through the sidecars, before any policy" before_policy
  step "a MeshPolicy: 90/10 by path prefix, a timeout, a refused path" apply_policy
  step "its effect, without a restart" effect
  step "kubectl get pods,meshpolicies" shop get pods,meshpolicies
  step "what the proxies counted and logged" counted_and_logged
  further
}

deploy_shop() {
  k apply -f scripts/demo/shop.yaml
  shop rollout status deployment --timeout=300s
  shop get pods
}

before_policy() {
  echo "GET http://web/ (nginx):"
  client http://web/
  echo "GET http://web/reviews/ (through nginx to reviews):"
  client http://web/reviews/ | cut -c1-100
  echo "redis through the mesh, opaque TCP:"
  shop exec deploy/client -c curl -- redis-cli -h redis SET greeting hello
}

apply_policy() {
  cat scripts/demo/policy.yaml
  k apply -f scripts/demo/policy.yaml
  shop wait --for=condition=Accepted meshpolicy --all --timeout=30s
  shop wait --for=condition=Programmed meshpolicy --all --timeout=30s
}

# kubelets bring a changed ConfigMap to running Pods within about a minute, sometimes two
effect() {
  local waited=0 started=$SECONDS
  echo "waiting until the kubelet has brought it to the running proxies (a minute or two)"
  until [ "$(client --output /dev/null --write-out '%{http_code}' http://reviews/admin)" = 403 ]; do
    ((SECONDS - started < 200)) || { echo "the policy did not arrive in 200 s"; return 1; }
    sleep 2
    ((++waited % 10)) || echo "   still waiting, $((SECONDS - started)) s"
  done
  echo "a refused path, GET http://reviews/admin: 403 after $((SECONDS - started)) s"
  until [ "$(client --output /dev/null --write-out '%{http_code}' 'http://reviews/slow?sleep=3000')" = 504 ]; do
    ((SECONDS - started < 300)) || { echo "the timeout did not arrive"; return 1; }
    sleep 2
  done
  echo "a request timeout of 1s, GET http://reviews/slow?sleep=3000: 504"
  echo "100 requests to http://reviews/api/: who answered?"
  shop exec deploy/client -c curl -- sh -c 'for i in $(seq 100); do curl -s http://reviews/api/ | sed -E "s/.*\"name\":\"([^\"]*)\".*/\1/"; done | sort | uniq -c'
}

counted_and_logged() {
  local pod
  pod=$(shop get pod -l app=client -o jsonpath='{.items[0].metadata.name}')
  k get --raw "/api/v1/namespaces/shop/pods/$pod:15020/proxy/metrics" | grep '^outrigger_requests_total' | head -8
  shop logs "$pod" -c outrigger-proxy --tail=5
}

further() {
  cat << EOT

The shop is up. Look further:
  $(in_cluster_hint) kubectl -n shop get meshpolicies -o wide
  $(in_cluster_hint) kubectl -n shop describe meshpolicy reviews
  $(in_cluster_hint) kubectl -n shop logs deploy/client -c outrigger-proxy
  $(in_cluster_hint) kubectl -n shop port-forward deploy/client 15000      then: curl localhost:15000/config_dump
  $(in_cluster_hint) kubectl explain meshpolicy.spec
Remove all of it: make demo-down
EOT
}

in_cluster_hint() { [ "$CLUSTER" = local ] && echo "e2e/cluster/exec.sh" || echo "      "; }

down() {
  if [ "$CLUSTER" = current ]; then k delete namespace shop --ignore-not-found; fi
  cluster_down
}

case ${1:-} in
  up) up ;;
  down) down ;;
  *) die "demo.sh up|down" "make demo, make demo-down" ;;
esac
