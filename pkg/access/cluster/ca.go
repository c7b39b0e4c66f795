// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto/x509"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// currentCA is one CA of the current trust. It is followed by the source, so that two listeners can share it.
type currentCA struct {
	source *source
	key    string
	pick   func(*trust) dynamiccertificates.CAContentProvider
}

var _ dynamiccertificates.CAContentProvider = &currentCA{}

// Name implements dynamiccertificates.CAContentProvider.
func (c *currentCA) Name() string { return configMap + "::" + c.key }

// CurrentCABundleContent implements dynamiccertificates.CAContentProvider.
func (c *currentCA) CurrentCABundleContent() []byte {
	if ca := c.pick(c.source.load()); ca != nil {
		return ca.CurrentCABundleContent()
	}
	return nil
}

// VerifyOptions implements dynamiccertificates.CAContentProvider.
func (c *currentCA) VerifyOptions() (x509.VerifyOptions, bool) {
	if ca := c.pick(c.source.load()); ca != nil {
		return ca.VerifyOptions()
	}
	return x509.VerifyOptions{}, false
}

// AddListener implements dynamiccertificates.Notifier.
func (c *currentCA) AddListener(listener dynamiccertificates.Listener) {
	c.source.addListener(listener)
}
