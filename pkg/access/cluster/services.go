// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	stdx509 "crypto/x509"
	"fmt"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/access/local"
	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// flagServiceCA is the flag of AuthenticationConfig.ServiceCAFile.
const flagServiceCA = "decrypt-client-ca-file"

// serviceCA is a CA for client certificates of services, in a file of the operator. It must not be one of the cluster's
// CAs, which sign the kubeconfigs of people and the front proxy's certificate.
type serviceCA struct {
	*local.ClientCA
	file    *reload.File
	source  *source
	refused bool // by the current ConfigMap; only for the goroutine that applies it
}

var (
	_ dynamiccertificates.CAContentProvider = &serviceCA{}
	_ dynamiccertificates.Listener          = &serviceCA{}
	_ x509.UserConversion                   = &serviceCA{}
)

func newServiceCA(path string, s *source) *serviceCA {
	c := &serviceCA{source: s}
	c.ClientCA, c.file = local.NewClientCA(flagServiceCA, path, c.check)
	s.addListener(c)
	return c
}

// check rejects certificates with a key of the cluster's CAs.
func (c *serviceCA) check(certificates []*stdx509.Certificate) error {
	issuers := c.source.load().issuers
	for _, certificate := range certificates {
		if key, ok := issuers[string(certificate.RawSubjectPublicKeyInfo)]; ok {
			return fmt.Errorf("%q is a CA of the cluster (%s in ConfigMap %s/%s), which signs for people: "+
				"use a CA that signs for services only, or omit the flag and use tokens",
				certificate.Subject, key, namespace, configMap)
		}
	}
	return nil
}

// User implements x509.UserConversion. A verified chain may contain a CA of the cluster below its root, or a root that
// became one of the cluster's after the file was read.
func (c *serviceCA) User(chain []*stdx509.Certificate) (*authenticator.Response, bool, error) {
	if err := c.check(chain); err != nil {
		return nil, false, err
	}
	return x509.CommonNameUserConversion(chain)
}

// fault returns why the file on disk is not in force, or why the current ConfigMap refuses it, or nil.
func (c *serviceCA) fault() error {
	if err := c.file.Fault(); err != nil {
		return err
	}
	return c.check(c.Certificates())
}

// Enqueue is called when the ConfigMap has changed.
func (c *serviceCA) Enqueue() {
	err := c.check(c.Certificates())
	if refused := err != nil; refused != c.refused {
		c.refused = refused
		reload.Record(flagServiceCA, err)
	}
	if err != nil {
		klog.ErrorS(err, "Client certificates are no longer accepted on the decrypt port", "flag", flagServiceCA)
	}
}
