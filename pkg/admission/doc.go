// SPDX-License-Identifier: Apache-2.0

// Package admission holds what a server in a cluster checks of a write beyond its own rules: the namespace exists and
// is not being deleted (NamespaceLifecycle), and the namespace's ResourceQuota has room for one more
// (count/securevalues.secret.grafana.app), which kube-apiserver does not check for resources that it does not store.
// Both are upstream's plugins.
//
// It must never hold a plugin that sends the object out of the process or lets an operator quote it in a message:
// admission sees the value in plaintext. So there are no admission webhooks and no admission policies.
package admission
