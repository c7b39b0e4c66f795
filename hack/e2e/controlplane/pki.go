// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"

	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
)

// FrontProxyName is the common name of the aggregator's certificate, the only one of --requestheader-allowed-names.
const FrontProxyName = "front-proxy-client"

// writePKI makes what an installer of Kubernetes makes.
func (c *ControlPlane) writePKI() error {
	var err error
	if c.ClientCA, err = pki.NewCA("kubernetes-ca"); err != nil {
		return err
	}
	if c.FrontProxyCA, err = pki.NewCA("front-proxy-ca"); err != nil {
		return err
	}
	private, public, err := pki.SigningKey()
	if err != nil {
		return err
	}
	serving, err := c.ClientCA.Serving("kube-apiserver", "kubernetes.default.svc")
	return errors.Join(err,
		pki.WriteFile(c.file("ca.crt"), c.ClientCA.PEM()),
		pki.WriteFile(c.file("sa.key"), private),
		pki.WriteFile(c.file("sa.pub"), public),
		serving.Write(c.file("apiserver.crt"), c.file("apiserver.key")),
		c.WriteFrontProxyCA(c.FrontProxyCA),
		c.WriteFrontProxyClient(c.FrontProxyCA),
	)
}

// WriteFrontProxyCA makes the CAs of the front proxy these; kube-apiserver reloads the file and publishes them.
func (c *ControlPlane) WriteFrontProxyCA(cas ...*pki.CA) error {
	var bundle []byte
	for _, ca := range cas {
		bundle = append(bundle, ca.PEM()...)
	}
	return pki.WriteFile(c.file("front-proxy-ca.crt"), bundle)
}

// WriteFrontProxyClient gives the aggregator a certificate of this CA; kube-apiserver reloads the files.
func (c *ControlPlane) WriteFrontProxyClient(ca *pki.CA) error {
	pair, err := ca.Client(FrontProxyName)
	if err != nil {
		return err
	}
	return pair.Write(c.file("front-proxy-client.crt"), c.file("front-proxy-client.key"))
}
