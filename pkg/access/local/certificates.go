// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	stdx509 "crypto/x509"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/lru"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// ClientCA is a bundle of CAs that sign client certificates. Unlike upstream's DynamicFileCAContent it is run by its
// owner only, so that two listeners (API and decrypt) can share it, and its reloads are counted like others.
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

// NewClientCA returns the bundle in the file of a flag, and the file, whose Load must succeed before the bundle is
// used. check may reject a bundle; nil accepts any.
func NewClientCA(flag, path string, check func([]*stdx509.Certificate) error) (*ClientCA, *reload.File) {
	c := &ClientCA{name: flag + "::" + path, check: check}
	return c, &reload.File{Flag: flag, Path: path, Holds: reload.Rights, Apply: c.apply}
}

// ByCertificate authenticates by client certificates that verify accepts. user returns the user of a verified chain.
func ByCertificate(verify x509.VerifyOptionFunc, user x509.UserConversion) authenticator.Request {
	return Remember(verify, x509.NewDynamic(verify, user))
}

// Certificates returns the CAs, which must not be changed.
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

// apply replaces the bundle and notifies the TLS listeners.
func (c *ClientCA) apply(_ context.Context, data []byte) error {
	// The provider keeps its argument, while data is wiped.
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

const (
	// ttl limits how long an answer is remembered. Only the expiry of a CA is noticed that late: the expiry of what the
	// client sent and a new bundle of CAs are checked for each request.
	ttl = 10 * time.Second
	// capacity is the number of remembered certificates of some kilobytes each.
	capacity = 1024
)

// remembering caches the answers of an authenticator that depend on the verified certificate alone.
type remembering struct {
	verify  x509.VerifyOptionFunc
	inner   authenticator.Request
	now     func() time.Time
	answers *lru.Cache // leaf certificate → *answer
}

// answer keeps its certificates, so that others cannot have their addresses.
type answer struct {
	sent     []*stdx509.Certificate
	roots    *stdx509.CertPool
	until    time.Time
	response *authenticator.Response
}

// Remember returns an authenticator that asks inner once for the certificates of a connection, while they are valid and
// verify returns the same roots. Upstream builds and verifies the chain for every request, which is a quarter of the
// CPU of a small get. inner must verify with the same function and depend on certificates only. Refusals are not
// remembered. A response is shared by requests and must not be changed.
func Remember(verify x509.VerifyOptionFunc, inner authenticator.Request) authenticator.Request {
	return &remembering{verify: verify, inner: inner, now: time.Now, answers: lru.New(capacity)}
}

// AuthenticateRequest implements authenticator.Request.
func (r *remembering) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	if req.TLS == nil || len(req.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	sent, now := req.TLS.PeerCertificates, r.now()
	// Before inner reads them: an answer under newer roots than these is asked for again, never the other way round.
	options, ok := r.verify()
	if !ok {
		return nil, false, nil
	}
	if found, ok := r.answers.Get(sent[0]); ok {
		if a := found.(*answer); a.roots == options.Roots && now.Before(a.until) && slices.Equal(a.sent, sent) {
			return a.response, true, nil
		}
	}
	response, ok, err := r.inner.AuthenticateRequest(req)
	if ok && err == nil {
		until := now.Add(ttl)
		for _, certificate := range sent {
			if certificate.NotAfter.Before(until) {
				until = certificate.NotAfter
			}
		}
		r.answers.Add(sent[0], &answer{sent: sent, roots: options.Roots, until: until, response: response})
	}
	return response, ok, err
}
