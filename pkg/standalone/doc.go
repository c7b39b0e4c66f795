// SPDX-License-Identifier: Apache-2.0

// Package standalone owns the data directory of a server that runs by itself: its lock, certificate authority,
// serving certificate, encryption key and admin credentials.
//
//	DATA/lock                 held while a server runs, with its process id
//	DATA/pki/ca.{crt,key}     ten years; signs the serving certificate and nothing else
//	DATA/pki/serving.{crt,key} one year; issued again when it runs out or lacks a name
//	DATA/encryption.yaml      EncryptionConfiguration with one generated key
//	DATA/admin.kubeconfig     the only place that holds the admin token
//	DATA/admin-token.sha256   what the server keeps of that token
//	DATA/etcd/                pkg/etcd's
//
// Everything is 0600 in directories of mode 0700, and written whole or not at all.
//
// It must never replace a file that it cannot read as its own (losing encryption.yaml loses every secret), never let the
// authority vouch for clients, and never put a key or a token into an error or a log line.
package standalone
