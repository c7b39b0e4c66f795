// SPDX-License-Identifier: Apache-2.0

// Package oracle compares pkg/access/rbac with the RBAC authorizer of Kubernetes itself on random policies and
// requests, and the env files of pkg/agent with what the kubelet reads from them. It is a separate module, since importing k8s.io/kubernetes takes replace lines for all of its parts, which
// the server must not carry. It holds tests only; nothing may import it.
//
// Run it with `go test ./...` in this folder. ORACLE_SEED repeats a failed run, ORACLE_POLICIES makes it longer.
package oracle
