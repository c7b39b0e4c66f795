// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Authority is a CA and what it signs. Its objects are in one namespace.
type Authority struct {
	// Name is used in names of controllers, log lines and metrics.
	Name string
	// Namespace of every Secret below.
	Namespace string
	// CASecret contains the CA with its private key. Nothing mounts it.
	CASecret string
	// Certificates are signed by the CA.
	Certificates []Certificate
	// APIService gets the bundle as its caBundle. Empty for none.
	APIService string
	// Service is probed, endpoint by endpoint, before an old CA leaves the bundle ahead of its expiry. Empty for none.
	Service string
	// Rotates is true when clients that trust the CA learn of a new one without a restart.
	Rotates bool
}

// Certificate is a certificate in a Secret of type kubernetes.io/tls, with the bundle beside it as ca.crt.
type Certificate struct {
	Secret     string
	CommonName string
	DNSNames   []string
	Usages     []x509.ExtKeyUsage
}

// Lifetimes of CAs and certificates. What has less than a third of its life left is replaced; Options.Validate rejects
// lifetimes with which a certificate could expire before its successor may be used.
type Lifetimes struct {
	// CA and Certificate are from issue to expiry. A CA that does not rotate has StaticCALifetime.
	CA, Certificate time.Duration
	// Propagation is how long a new CA is in the published bundle before it signs certificates in use: time for every
	// kube-apiserver and every application to have it.
	Propagation time.Duration
}

// StaticCALifetime is the life of a CA that is replaced by hand only.
const StaticCALifetime = 10 * 365 * 24 * time.Hour

// DefaultLifetimes returns those for production.
func DefaultLifetimes() Lifetimes {
	return Lifetimes{CA: 365 * 24 * time.Hour, Certificate: 90 * 24 * time.Hour, Propagation: 7 * 24 * time.Hour}
}

func (a Authority) caLifetime(l Lifetimes) time.Duration {
	if a.Rotates {
		return l.CA
	}
	return StaticCALifetime
}

// Names in the manifests of deploy/.
const (
	// ServingCASecret and ServingSecret are for the server's two ports.
	ServingCASecret = "secret-apiserver-ca"
	ServingSecret   = "secret-apiserver-tls"
	// EtcdCASecret and the three below are for the etcd in deploy/.
	EtcdCASecret     = "secret-etcd-ca"         //nolint:gosec // the name of a Secret, not its content
	EtcdServerSecret = "secret-etcd-server-tls" //nolint:gosec // the name of a Secret, not its content
	EtcdPeerSecret   = "secret-etcd-peer-tls"   //nolint:gosec // the name of a Secret, not its content
	EtcdClientSecret = "secret-etcd-client-tls" //nolint:gosec // the name of a Secret, not its content

	apiService     = "v1beta1.secret.grafana.app"
	serverService  = "secret-apiserver"
	decryptService = "secret-decrypt"
	etcdService    = "secret-etcd"
)

// ServingAuthority issues the certificate of the API and the decrypt port.
func ServingAuthority(namespace string) Authority {
	return Authority{
		Name: "serving", Namespace: namespace, CASecret: ServingCASecret,
		APIService: apiService, Service: serverService, Rotates: true,
		Certificates: []Certificate{{
			Secret: ServingSecret, CommonName: serverService, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			DNSNames: append(serviceNames(serverService, namespace), serviceNames(decryptService, namespace)...),
		}},
	}
}

// EtcdAuthority issues the certificates of the etcd in deploy/. etcd reads its CA once, so the CA does not rotate; the
// certificates do, for etcd and its clients read those at each handshake.
func EtcdAuthority(namespace string) Authority {
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	members := append(serviceNames(etcdService, namespace), serviceNames("*."+etcdService, namespace)...)
	return Authority{
		Name: "etcd", Namespace: namespace, CASecret: EtcdCASecret,
		Certificates: []Certificate{
			// etcd's own gateway is a client of etcd with the server certificate.
			{Secret: EtcdServerSecret, CommonName: "secret-etcd-server", DNSNames: append(members, "localhost"),
				Usages: both},
			{Secret: EtcdPeerSecret, CommonName: "secret-etcd-peer", DNSNames: members, Usages: both},
			{
				Secret: EtcdClientSecret, CommonName: "secret-etcd-client", DNSNames: []string{"secret-etcd-client"},
				Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			},
		},
	}
}

// serviceNames are the names of a Service inside a cluster.
func serviceNames(service, namespace string) []string {
	return []string{
		fmt.Sprintf("%s.%s.svc", service, namespace),
		fmt.Sprintf("%s.%s.svc.cluster.local", service, namespace),
		fmt.Sprintf("%s.%s", service, namespace),
	}
}
