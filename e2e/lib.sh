# lib.sh: one interface to the three kinds of cluster, for e2e/run.sh and scripts/demo.sh. Sourced from the root of the
# checkout. It installs Outrigger and loads images; what runs on the cluster is its callers' business.

# CLUSTER: local (e2e/cluster), kind (made here, needs Docker), current (whatever KUBECONFIG says; nothing is removed)
if [ -z "${CLUSTER:-}" ]; then
  if docker info > /dev/null 2>&1; then CLUSTER=kind; else CLUSTER=local; fi
fi
KIND_NAME=${KIND_NAME:-outrigger}
cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outrigger}
PATH=$cache/bin:$PATH

die() {
  echo "error: $1" >&2
  echo "  what to do: $2" >&2
  exit 1
}

need_tools() {
  case $CLUSTER in
    local)
      ((EUID == 0)) || die "the local cluster needs root" "run with sudo, or choose CLUSTER=kind or CLUSTER=current"
      e2e/cluster/deps.sh
      ;;
    kind)
      command -v docker > /dev/null || die "CLUSTER=kind needs Docker" "install it, or choose CLUSTER=local"
      command -v kind > /dev/null || GOBIN=$cache/bin go install sigs.k8s.io/kind@v0.31.0
      ;;
    current) kubectl version > /dev/null || die "no cluster answers" "point KUBECONFIG at one" ;;
    *) die "CLUSTER=$CLUSTER is unknown" "use local, kind or current" ;;
  esac
}

cluster_up() {
  case $CLUSTER in
    local) e2e/cluster/up.sh ;;
    kind)
      kind get clusters 2> /dev/null | grep -qx "$KIND_NAME" && return
      kind create cluster --name "$KIND_NAME" --config - <<< '{kind: Cluster, apiVersion: kind.x-k8s.io/v1alpha4, networking: {ipFamily: dual}}'
      ;;
    current) ;;
  esac
}

cluster_down() {
  case $CLUSTER in
    local) e2e/cluster/down.sh ;;
    kind) kind delete cluster --name "$KIND_NAME" ;;
    # deleting the definition would delete every policy in somebody's cluster
    current) echo "CLUSTER=current: Outrigger stays installed; to remove it and all policies: kubectl delete -k manifests/default" ;;
  esac
}

# in_cluster COMMAND...: with KUBECONFIG set, where Pods and Services can be reached if the kind of cluster allows it
in_cluster() {
  case $CLUSTER in
    local) e2e/cluster/exec.sh "$@" ;;
    kind) KUBECONFIG=$(kind_kubeconfig) "$@" ;;
    current) KUBECONFIG=${KUBECONFIG:-$HOME/.kube/config} "$@" ;;
  esac
}

kind_kubeconfig() {
  kind get kubeconfig --name "$KIND_NAME" > "$cache/kind.kubeconfig"
  echo "$cache/kind.kubeconfig"
}

load_images() {
  local image
  local images="${CARGO_TARGET_DIR:-target}/images"
  case $CLUSTER in
    local) e2e/cluster/load.sh "$images"/*.tar ;;
    kind) for image in "$images"/*.tar; do kind load image-archive --name "$KIND_NAME" "$image"; done ;;
    current) echo "CLUSTER=current: the images must be where its nodes can pull them (make images; images/*.Dockerfile)" ;;
  esac
}

install_outrigger() {
  in_cluster kubectl apply -k manifests/default
  # in a cluster that was up already, an image of the same name may be a newer one
  in_cluster kubectl -n outrigger-system rollout restart deployment
  in_cluster kubectl -n outrigger-system rollout status deployment --timeout=180s
}

show_control_plane() {
  in_cluster kubectl -n outrigger-system get pods -o wide || true
  in_cluster kubectl -n outrigger-system logs --prefix --tail=30 -l app.kubernetes.io/part-of=outrigger || true
  in_cluster kubectl -n outrigger-system get events || true
} >&2
