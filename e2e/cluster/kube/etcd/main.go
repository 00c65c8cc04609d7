// Command etcd is etcd's server, unchanged, at the version that the pinned Kubernetes is tested with.
// It lives in Kubernetes' module so that both agree on etcd's client.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
