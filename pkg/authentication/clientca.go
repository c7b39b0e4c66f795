// SPDX-License-Identifier: Apache-2.0

package authentication

import (
	"context"
	"crypto/x509"
	"sync"
	"sync/atomic"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// clientCA is the bundle that signs client certificates. Unlike upstream's DynamicFileCAContent it is run by this
// package only, so that two listeners (API and decrypt) can share it, and its reloads are counted like the others.
type clientCA struct {
	name    string
	current atomic.Pointer[bundle]

	mu        sync.Mutex
	listeners []dynamiccertificates.Listener
}

type bundle struct {
	dynamiccertificates.CAContentProvider
}

var (
	_ dynamiccertificates.CAContentProvider = &clientCA{}
	_ dynamiccertificates.Notifier          = &clientCA{}
)

// Name implements dynamiccertificates.CAContentProvider.
func (c *clientCA) Name() string { return c.name }

// CurrentCABundleContent implements dynamiccertificates.CAContentProvider.
func (c *clientCA) CurrentCABundleContent() []byte {
	return c.current.Load().CurrentCABundleContent()
}

// VerifyOptions implements dynamiccertificates.CAContentProvider.
func (c *clientCA) VerifyOptions() (x509.VerifyOptions, bool) {
	return c.current.Load().VerifyOptions()
}

// AddListener implements dynamiccertificates.Notifier.
func (c *clientCA) AddListener(listener dynamiccertificates.Listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners = append(c.listeners, listener)
}

// apply replaces the bundle and tells the TLS listeners.
func (c *clientCA) apply(_ context.Context, data []byte) error {
	// The provider keeps its argument, data is wiped.
	content, err := dynamiccertificates.NewStaticCAContent(c.name, append([]byte(nil), data...))
	if err != nil {
		return err
	}
	c.current.Store(&bundle{content})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, listener := range c.listeners {
		listener.Enqueue()
	}
	return nil
}
