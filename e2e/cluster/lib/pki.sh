# pki.sh: the cluster's certificates (ECDSA P-256) and kubeconfigs, made anew at each `up`.
# Nothing here is Outrigger's own identity: its certificates are the mesh's business, not the cluster's.
# shellcheck shell=bash

create_pki() {
  mkdir -p "$PKI"
  chmod 700 "$PKI"
  # In the background, because `set -e` does not hold inside a `( ... ) || die`.
  (
    cd "$PKI" || exit
    umask 077
    authority ca kubernetes
    authority front-proxy-ca front-proxy-ca
    key sa
    openssl pkey -in sa.key -pubout -out sa.pub

    local names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
    names+=,DNS:kubernetes.default.svc.$CLUSTER_DOMAIN,DNS:localhost
    names+=,IP:127.0.0.1,IP:$NODE_IP,IP:$NODE_IP6,IP:$KUBERNETES_SERVICE_IP
    server_certificate apiserver /CN=kube-apiserver "$names"
    server_certificate kubelet-serving "/O=system:nodes/CN=system:node:$NODE_NAME" "DNS:$NODE_NAME,IP:$NODE_IP,IP:$NODE_IP6"

    client_certificate apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client ca
    client_certificate front-proxy-client /CN=front-proxy-client front-proxy-ca

    kubeconfig admin /O=system:masters/CN=admin
    kubeconfig controller-manager /CN=system:kube-controller-manager
    kubeconfig scheduler /CN=system:kube-scheduler
    kubeconfig kubelet "/O=system:nodes/CN=system:node:$NODE_NAME"
    kubeconfig proxy /CN=system:kube-proxy
    cp admin.kubeconfig "$KUBECONFIG_ADMIN"
  ) 2>"$LOGS/pki.log" &
  wait $! || die "openssl could not make the cluster's certificates: $(tail -n 3 "$LOGS/pki.log")" "install openssl 3"
}

key() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"
}

# authority FILE COMMON-NAME
authority() {
  key "$1"
  openssl req -x509 -new -key "$1.key" -days 3650 -subj "/CN=$2" \
    -addext keyUsage=critical,digitalSignature,keyCertSign,cRLSign -out "$1.crt"
}

# certificate FILE SUBJECT AUTHORITY EXTENSION...
certificate() {
  local file=$1 subject=$2 authority=$3
  shift 3
  key "$file"
  printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature "$@" >"$file.ext"
  openssl req -new -key "$file.key" -subj "$subject" |
    openssl x509 -req -CA "$authority.crt" -CAkey "$authority.key" -CAcreateserial -days 3650 \
      -extfile "$file.ext" -out "$file.crt"
}

server_certificate() {
  certificate "$1" "$2" ca extendedKeyUsage=serverAuth "subjectAltName=$3"
}

client_certificate() {
  certificate "$1" "$2" "$3" extendedKeyUsage=clientAuth
}

# kubeconfig NAME SUBJECT: a client certificate inside a kubeconfig.
kubeconfig() {
  client_certificate "$1" "$2" ca
  cat >"$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: outrigger-e2e
  cluster:
    server: $API_SERVER
    certificate-authority-data: $(base64 -w0 ca.crt)
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 "$1.crt")
    client-key-data: $(base64 -w0 "$1.key")
contexts:
- name: $1
  context: {cluster: outrigger-e2e, user: $1}
current-context: $1
YAML
}
