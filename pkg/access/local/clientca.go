// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	stdx509 "crypto/x509"
	"sync"
	"sync/atomic"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/util/cert"

	"github.com/securevalue/secret-apiserver/pkg/access/clientcert"
	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// ClientCA is a bundle of CAs that sign client certificates. Unlike upstream's DynamicFileCAContent it is run by its
// owner only, so that two listeners (API and decrypt) can share it, and its reloads are counted like the others.
type ClientCA struct {
	name    string
	check   func([]*stdx509.Certificate) error
	current atomic.Pointer[bundle]

	mu        sync.Mutex
	listeners []dynamiccertificates.Listener
}

type bundle struct {
	dynamiccertificates.CAContentProvider
	certificates []*stdx509.Certificate
}

var (
	_ dynamiccertificates.CAContentProvider = &ClientCA{}
	_ dynamiccertificates.Notifier          = &ClientCA{}
)

// NewClientCA returns the bundle in a file that a flag names, and the file, whose Load must succeed before the bundle
// is used. check may refuse a bundle; nil accepts every one.
func NewClientCA(flag, path string, check func([]*stdx509.Certificate) error) (*ClientCA, *reload.File) {
	c := &ClientCA{name: flag + "::" + path, check: check}
	trackReloads(flag)
	return c, &reload.File{Flag: flag, Path: path, Holds: reload.Rights, Apply: c.apply, Done: func(err error) { RecordReload(flag, err) }}
}

// ByCertificate knows callers by client certificates that verify accepts. who names the caller of a verified chain.
func ByCertificate(verify x509.VerifyOptionFunc, who x509.UserConversion) authenticator.Request {
	return clientcert.Remember(verify, x509.NewDynamic(verify, who))
}

// Certificates returns the CAs. Nobody may change them.
func (c *ClientCA) Certificates() []*stdx509.Certificate { return c.current.Load().certificates }

// Name implements dynamiccertificates.CAContentProvider.
func (c *ClientCA) Name() string { return c.name }

// CurrentCABundleContent implements dynamiccertificates.CAContentProvider.
func (c *ClientCA) CurrentCABundleContent() []byte {
	return c.current.Load().CurrentCABundleContent()
}

// VerifyOptions implements dynamiccertificates.CAContentProvider.
func (c *ClientCA) VerifyOptions() (stdx509.VerifyOptions, bool) {
	return c.current.Load().VerifyOptions()
}

// AddListener implements dynamiccertificates.Notifier.
func (c *ClientCA) AddListener(listener dynamiccertificates.Listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners = append(c.listeners, listener)
}

// apply replaces the bundle and tells the TLS listeners.
func (c *ClientCA) apply(_ context.Context, data []byte) error {
	// The provider keeps its argument, data is wiped.
	content, err := dynamiccertificates.NewStaticCAContent(c.name, append([]byte(nil), data...))
	if err != nil {
		return err
	}
	certificates, err := cert.ParseCertsPEM(data)
	if err != nil {
		return err
	}
	if c.check != nil {
		if err := c.check(certificates); err != nil {
			return err
		}
	}
	c.current.Store(&bundle{content, certificates})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, listener := range c.listeners {
		listener.Enqueue()
	}
	return nil
}
