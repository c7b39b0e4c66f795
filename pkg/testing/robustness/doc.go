// SPDX-License-Identifier: Apache-2.0

// Package robustness drives two replicas over one etcd of three members while it breaks things, and proves from what
// the clients saw that nothing was lost. It has the shape of etcd's tests/robustness: a model (model.go), traffic that
// is drawn from a seed (traffic.go, client.go, watch.go), faults (faults.go, proxy.go), and checks of the recorded
// history (validate*.go, report.go).
//
// A write that ended in an error may have happened, at any time since. Nothing else is forgiven: a history that no
// order of its operations explains fails, and so does a value that does not open once everything is healed.
//
// `make robustness` runs it for longer, docs/reliability.md says what it found.
package robustness
