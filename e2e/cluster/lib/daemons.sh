# daemons.sh: starting each daemon of the cluster with its flags, and asking whether one runs or is ready.
# The order of starting is up.sh's; how everything ends is lib/node.sh's.
# shellcheck shell=bash disable=SC2054,SC2153  # commas belong to the flags; CONFIG is in settings.sh

declare -A DAEMON_PIDS=() # of the daemons started by this script: the pid that waits for each

# launch NAME COMMAND...: in the node, in a session of its own, with its output in its log.
launch() {
  local name=$1 init
  shift
  init=$(node_init) || die_of_daemon node "the node ended"
  setsid nsenter --target "$init" --net --mount --pid -- "${WITHOUT_PROXIES[@]}" PATH="$NODE_PATH" "$@" \
    >>"$LOGS/$name.log" 2>&1 </dev/null 9>&- &
  DAEMON_PIDS[$name]=$!
}

# daemon_runs NAME: of one that this script started, its own child is asked, which costs nothing.
daemon_runs() {
  if [[ -n ${DAEMON_PIDS[$1]:-} ]]; then
    kill -0 "${DAEMON_PIDS[$1]}" 2>/dev/null
  else
    daemon_pid "$1" >/dev/null
  fi
}

# daemon_pid NAME: as the machine sees it.
daemon_pid() {
  processes_of_node | awk -v name="$1" '$2 == name { print $1; found = 1; exit } END { exit !found }'
}

# admin ARGUMENT...: kubectl as the cluster's administrator, which gives up soon.
admin() {
  in_network env KUBECONFIG="$KUBECONFIG_ADMIN" KUBECACHEDIR="$KUBECTL_CACHE" "$(kubectl_path)" --request-timeout=3s "$@"
}

# daemon_ready NAME: does it do its work? Run by `up` while it waits, and by `status`.
daemon_ready() {
  local http=(in_network curl --silent --show-error --fail --max-time 3 --output /dev/null)
  case $1 in
    etcd) "${http[@]}" http://127.0.0.1:2379/health ;;
    containerd) in_node timeout 5 ctr version ;;
    kube-apiserver) admin get --raw /readyz ;;
    kube-controller-manager) "${http[@]}" --insecure https://127.0.0.1:10257/healthz ;;
    kube-scheduler) "${http[@]}" --insecure https://127.0.0.1:10259/healthz ;;
    # The node's condition alone would still be what an earlier kubelet has said.
    kubelet) "${http[@]}" http://127.0.0.1:10248/healthz && admin wait --for=condition=Ready "node/$NODE_NAME" --timeout=2s ;;
    kube-proxy) "${http[@]}" "http://$NODE_IP:10256/healthz" ;;
    coredns) "${http[@]}" http://127.0.0.1:8181/ready ;;
  esac
}

start_daemon() {
  "start_${1//-/_}" "$(kubernetes_dir)"
}

# The state of a test cluster is thrown away, so etcd need not wait for the disk.
start_etcd() {
  launch etcd "$1/etcd" --data-dir=/var/lib/etcd --unsafe-no-fsync \
    --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
    --initial-cluster=default=http://127.0.0.1:2380
}

start_containerd() {
  launch containerd containerd --config "$CONFIG/containerd.toml"
}

start_kube_apiserver() {
  local issuer=https://kubernetes.default.svc.$CLUSTER_DOMAIN
  local flags=(
    --etcd-servers=http://127.0.0.1:2379
    --bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$NODE_IP"
    --service-cluster-ip-range="$SERVICE_CIDRS"
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key"
    --client-ca-file="$PKI/ca.crt"
    # tokens of service accounts
    --service-account-issuer="$issuer" --api-audiences="$issuer"
    --service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key"
    # extension API servers
    --requestheader-client-ca-file="$PKI/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group
    --requestheader-extra-headers-prefix=X-Remote-Extra-
    --proxy-client-cert-file="$PKI/front-proxy-client.crt" --proxy-client-key-file="$PKI/front-proxy-client.key"
    # logs, exec, port-forward
    --kubelet-client-certificate="$PKI/apiserver-kubelet-client.crt"
    --kubelet-client-key="$PKI/apiserver-kubelet-client.key"
    --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction
    --allow-privileged=true --profiling=false
  )
  launch kube-apiserver "$1/kube-apiserver" "${flags[@]}"
}

start_kube_controller_manager() {
  local config=$PKI/controller-manager.kubeconfig
  local flags=(
    --kubeconfig="$config" --authentication-kubeconfig="$config" --authorization-kubeconfig="$config"
    --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials=true
    # The default of 20 requests per second alone makes it take 5 s to start.
    --kube-api-qps=500 --kube-api-burst=1000
    --controllers='*,-cloud-node-lifecycle-controller'
    --root-ca-file="$PKI/ca.crt" --service-account-private-key-file="$PKI/sa.key"
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key"
    --service-cluster-ip-range="$SERVICE_CIDRS"
    --allocate-node-cidrs=true --cluster-cidr="$POD_CIDRS"
    --node-cidr-mask-size-ipv4="${NODE_POD_CIDR#*/}" --node-cidr-mask-size-ipv6="${NODE_POD_CIDR6#*/}"
  )
  launch kube-controller-manager "$1/kube-controller-manager" "${flags[@]}"
}

start_kube_scheduler() {
  local config=$PKI/scheduler.kubeconfig
  launch kube-scheduler "$1/kube-scheduler" --kubeconfig="$config" --authentication-kubeconfig="$config" \
    --authorization-kubeconfig="$config" --bind-address=127.0.0.1 --leader-elect=false
}

start_kubelet() {
  launch kubelet "$1/kubelet" --config="$CONFIG/kubelet.yaml" --kubeconfig="$PKI/kubelet.kubeconfig" \
    --hostname-override="$NODE_NAME" --node-ip="$NODE_IP,$NODE_IP6"
}

# The conntrack settings belong to the whole machine; 0 leaves each as it is.
start_kube_proxy() {
  local flags=(
    --kubeconfig="$PKI/proxy.kubeconfig" --hostname-override="$NODE_NAME"
    --proxy-mode=iptables --cluster-cidr="$POD_CIDRS" --iptables-min-sync-period=200ms
    --bind-address="$NODE_IP" --healthz-bind-address="$NODE_IP:10256" --metrics-bind-address=127.0.0.1:10249
    --conntrack-max-per-core=0 --conntrack-min=0
    --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
  )
  launch kube-proxy "$1/kube-proxy" "${flags[@]}"
}

start_coredns() {
  launch coredns "$1/coredns" -conf "$CONFIG/Corefile"
}
