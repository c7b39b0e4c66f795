// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"net/url"
	"slices"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// backend hands redacted events to the backend behind it.
type backend struct {
	delegate audit.Backend
}

var _ audit.Backend = (*backend)(nil)

// NewBackend wraps an audit backend so that no event that reaches it holds secret material. A nil backend, which means
// that there is no audit log, stays nil.
func NewBackend(delegate audit.Backend) audit.Backend {
	if delegate == nil {
		return nil
	}
	return &backend{delegate: delegate}
}

// ProcessEvents redacts what needs it, in copies, and passes on all events in their order.
func (b *backend) ProcessEvents(events ...*auditinternal.Event) bool {
	var out []*auditinternal.Event
	for i, ev := range events {
		if !concerns(ev) {
			continue
		}
		if out == nil {
			// The slice is the caller's as much as the events are.
			out = slices.Clone(events)
		}
		out[i] = redacted(ev)
	}
	if out == nil {
		out = events
	}
	return b.delegate.ProcessEvents(out...)
}

// Run starts the backend behind this one.
func (b *backend) Run(stopCh <-chan struct{}) error {
	return b.delegate.Run(stopCh)
}

// Shutdown stops the backend behind this one.
func (b *backend) Shutdown() {
	b.delegate.Shutdown()
}

// String names the backend behind this one.
func (b *backend) String() string {
	return "redact<" + b.delegate.String() + ">"
}

// concerns says whether an event may hold material of a SecureValue. A request that was turned away early has no
// reference to an object, so its URI counts as well; one that cannot be parsed counts as ours.
func concerns(ev *auditinternal.Event) bool {
	if ev == nil {
		return false
	}
	if ev.ObjectRef != nil && ev.ObjectRef.APIGroup == secret.GroupName || isBusy(ev) {
		return true
	}
	if ev.RequestURI == "" {
		return false
	}
	uri, err := url.ParseRequestURI(ev.RequestURI)
	return err != nil || IsSecretPath(uri.Path)
}
