// SPDX-License-Identifier: Apache-2.0

// Package clientcert spares a connection to have its client certificate verified for every request: upstream builds and
// checks the chain each time, which is a quarter of the CPU of a small get.
package clientcert

import (
	stdx509 "crypto/x509"
	"net/http"
	"slices"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/utils/lru"
)

const (
	// ttl bounds how long an answer is remembered. Only a CA certificate that expires is noticed that late: the expiry of
	// what the client sent and a new bundle of CAs are looked at for each request.
	ttl = 10 * time.Second
	// capacity is the number of certificates that are remembered, of some kilobytes each.
	capacity = 1024
)

// remembering is an authenticator whose answer depends on the verified certificate alone.
type remembering struct {
	verify  x509.VerifyOptionFunc
	inner   authenticator.Request
	now     func() time.Time
	answers *lru.Cache // leaf certificate → *answer
}

// answer holds the certificates it is about: as long as it is kept, no other ones can have their addresses.
type answer struct {
	sent     []*stdx509.Certificate
	roots    *stdx509.CertPool
	until    time.Time
	response *authenticator.Response
}

// Remember returns an authenticator that asks inner once for the certificates of a connection, as long as they are valid
// and verify has the same roots. inner must verify with the same function and look at nothing but certificates. Refusals
// are not remembered. A response is shared by requests: nobody may change it.
func Remember(verify x509.VerifyOptionFunc, inner authenticator.Request) authenticator.Request {
	return &remembering{verify: verify, inner: inner, now: time.Now, answers: lru.New(capacity)}
}

// AuthenticateRequest implements authenticator.Request.
func (r *remembering) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	if req.TLS == nil || len(req.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	sent, now := req.TLS.PeerCertificates, r.now()
	// Read before inner reads it: an answer under newer roots than these is asked for again, never the other way round.
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
		r.answers.Add(sent[0], &answer{sent: sent, roots: options.Roots, until: validUntil(now.Add(ttl), sent), response: response})
	}
	return response, ok, err
}

// validUntil is when the first of the certificates expires, at most latest.
func validUntil(latest time.Time, certificates []*stdx509.Certificate) time.Time {
	for _, certificate := range certificates {
		if certificate.NotAfter.Before(latest) {
			latest = certificate.NotAfter
		}
	}
	return latest
}
