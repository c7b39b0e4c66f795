// SPDX-License-Identifier: Apache-2.0

// Package etcd runs one etcd member inside this process, for the standalone server, and connects to the etcd of
// --etcd-servers (New); BatchReads coalesces many small reads of it.
//
// It owns the member's directory: lock, data and sockets. The data is real etcd data with every fsync on; etcdutl reads
// the directory as it is.
//
// Clients reach the member over a unix socket in a directory of mode 0700, not over TCP: a process that can open the
// socket can also read the data files, so a certificate would add nothing. There is no port to collide with, no
// certificate that expires and no handshake. A single member needs no peer listener.
//
// It must never open a TCP port, never disable fsync, and never log more of a request than its key and size.
package etcd
