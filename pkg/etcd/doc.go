// SPDX-License-Identifier: Apache-2.0

// Package etcd runs one etcd member inside this process, for the standalone server, and connects to the etcd of
// --etcd-servers, with batched reads (New).
//
// It owns the member's directory: its lock, its data and its sockets. The data is real etcd data with every fsync on;
// etcdutl reads the directory as it is.
//
// Clients reach the member over a unix socket in a directory of mode 0700, not over TCP: whoever could open the socket
// could also read the data files, so a certificate would add nothing, and there is no port to collide with, no
// certificate to expire under a running server and no handshake to pay for. There is no peer listener at all, since the
// member is alone.
//
// It must never open a TCP port, never turn fsync off, and never log more of a request than its key and its size.
package etcd
