// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"io"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Etcd is the part of an etcd client that the decrypt service uses.
type Etcd interface {
	clientv3.KV
	io.Closer
}
