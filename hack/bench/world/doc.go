// SPDX-License-Identifier: Apache-2.0

// Package world starts what is compared: kube-apiserver and secret-apiserver, each with its own etcd process, or
// secret-apiserver with its embedded one. Each side has TLS with a certificate of one CA, client certificates, RBAC,
// AES-GCM at rest and a synced disk. It must never give one side work that the other is spared without saying so.
package world
