// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"crypto/x509"
	"time"
)

// Authority is a CA and what it signs. Its objects are in one namespace.
type Authority struct {
	// Name is for names of controllers, log lines and metrics.
	Name string
	// Namespace holds every Secret below.
	Namespace string
	// CASecret holds the CA with its private key. Nothing mounts it.
	CASecret string
	// Certificates are what it signs.
	Certificates []Certificate
	// APIService gets the bundle as its caBundle. Empty for none.
	APIService string
	// Service is asked, endpoint by endpoint, before an old CA leaves the bundle. Empty for none: then it stays until it
	// ends by itself.
	Service string
	// Rotates says that whoever trusts the CA learns of a new one without a restart.
	Rotates bool
}

// Certificate is a certificate in a Secret of type kubernetes.io/tls, with the bundle beside it as ca.crt.
type Certificate struct {
	Secret     string
	CommonName string
	DNSNames   []string
	Usages     []x509.ExtKeyUsage
}

// Lifetimes say how long things are valid. What has less than a third of its life left is replaced; Options.Validate refuses
// lifetimes under which a certificate could end before its successor may be used.
type Lifetimes struct {
	// CA and Certificate are from issue to end. A CA that does not rotate has StaticCALifetime.
	CA, Certificate time.Duration
	// Propagation is how long a new CA is in the published bundle before it signs what is in use: time for every
	// kube-apiserver to see it.
	Propagation time.Duration
}

// StaticCALifetime is the life of a CA that only people replace.
const StaticCALifetime = 10 * 365 * 24 * time.Hour

// DefaultLifetimes are for production.
func DefaultLifetimes() Lifetimes {
	return Lifetimes{CA: 365 * 24 * time.Hour, Certificate: 90 * 24 * time.Hour, Propagation: 2 * time.Minute}
}

// caLifetime is the life of the authority's CA.
func (a Authority) caLifetime(l Lifetimes) time.Duration {
	if a.Rotates {
		return l.CA
	}
	return StaticCALifetime
}
