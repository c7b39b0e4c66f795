// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"crypto/x509"
	"fmt"
)

// Names of what the manifests in deploy/ mount and bind rights to.
const (
	// ServingCASecret and ServingSecret are of the server's two ports.
	ServingCASecret = "secret-apiserver-ca"
	ServingSecret   = "secret-apiserver-tls"
	// EtcdCASecret and the three below are of the etcd that deploy/ brings.
	EtcdCASecret     = "secret-etcd-ca"         //nolint:gosec // the name of a Secret, not what is in it
	EtcdServerSecret = "secret-etcd-server-tls" //nolint:gosec // the name of a Secret, not what is in it
	EtcdPeerSecret   = "secret-etcd-peer-tls"   //nolint:gosec // the name of a Secret, not what is in it
	EtcdClientSecret = "secret-etcd-client-tls" //nolint:gosec // the name of a Secret, not what is in it

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
			// etcd's own gateway is a client of etcd that shows the server certificate.
			{Secret: EtcdServerSecret, CommonName: "secret-etcd-server", DNSNames: append(members, "localhost"), Usages: both},
			{Secret: EtcdPeerSecret, CommonName: "secret-etcd-peer", DNSNames: members, Usages: both},
			{
				Secret: EtcdClientSecret, CommonName: "secret-etcd-client", DNSNames: []string{"secret-etcd-client"},
				Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			},
		},
	}
}

// serviceNames are the names that a Service is reached by inside a cluster.
func serviceNames(service, namespace string) []string {
	return []string{
		fmt.Sprintf("%s.%s.svc", service, namespace),
		fmt.Sprintf("%s.%s.svc.cluster.local", service, namespace),
		fmt.Sprintf("%s.%s", service, namespace),
	}
}
