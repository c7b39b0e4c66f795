// SPDX-License-Identifier: Apache-2.0

// Package standalone owns the data directory of a standalone server: its lock, certificate authority, serving
// certificate, encryption key and admin credentials.
//
//	DATA/lock                 held while a server runs, with its process id
//	DATA/pki/ca.{crt,key}     ten years; signs the serving certificate and nothing else
//	DATA/pki/serving.{crt,key} one year; re-issued before it expires or when it lacks a name
//	DATA/encryption.yaml      EncryptionConfiguration with one generated key
//	DATA/admin.kubeconfig     the only place that holds the admin token
//	DATA/admin-token.sha256   hash of that token
//	DATA/tokens.csv, tokens/  tokens of services, made by grant
//	DATA/rbac/                their permissions
//	DATA/etcd/                pkg/etcd's
//
// Files have mode 0600, directories 0700. Files are written atomically.
//
// It must never replace a file that it cannot parse (losing encryption.yaml loses every secret), never sign client
// certificates, and never put a key or a token into an error or a log line.
package standalone
