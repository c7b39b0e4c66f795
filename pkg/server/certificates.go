// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// certificate is one that the process uses. It is read whenever metrics are, from the source that its user reads.
type certificate struct {
	use string
	// bundle is a set of CAs, which expires with the last of them. A chain expires with the first.
	bundle bool
	pem    func() []byte
}

// certificateFile is a certificate that is read from its file whenever it is used.
func certificateFile(use string, bundle bool, file string) certificate {
	return certificate{use: use, bundle: bundle, pem: func() []byte {
		data, err := os.ReadFile(file) //nolint:gosec // named by a flag
		if err != nil {
			return nil // its user reports the error
		}
		return data
	}}
}

func certificateAuthority(use string, ca dynamiccertificates.CAContentProvider) certificate {
	return certificate{use: use, bundle: true, pem: ca.CurrentCABundleContent}
}

// end returns when c expires, and false if there is none.
func (c certificate) end() (end time.Time, ok bool) {
	certs, err := cert.ParseCertsPEM(c.pem())
	if err != nil {
		return time.Time{}, false
	}
	end = certs[0].NotAfter
	for _, other := range certs[1:] {
		if other.NotAfter.After(end) == c.bundle {
			end = other.NotAfter
		}
	}
	return end, true
}

// certificates lists the certificates of this process.
func (s *server) certificates(api *genericapiserver.SecureServingInfo) []certificate {
	keyContent := func(content dynamiccertificates.CertKeyContentProvider) func() []byte {
		return func() []byte {
			chain, _ := content.CurrentCertKeyContent()
			return chain
		}
	}
	list := []certificate{{use: "serving", pem: keyContent(api.Cert)}}
	for _, own := range api.SNICerts { // the only one is upstream's for the loopback client: see WithLoopback
		list = append(list, certificate{use: "loopback", pem: keyContent(own)})
	}
	transport := s.opts.Storage.StorageConfig.Transport
	list = append(list,
		certificateFile("serving-ca", true, s.servingCA),
		certificateFile("etcd-client", false, transport.CertFile),
		certificateFile("etcd-ca", true, transport.TrustedCAFile))
	return append(list, s.inputs.certificates()...)
}

// certificates are those that verify callers, and those of the kubeconfigs.
func (i *inputs) certificates() []certificate {
	if c := i.cluster; c != nil {
		list := append(c.certificates, certificateAuthority("client-ca", c.authn.ClientCA()),
			certificateAuthority("front-proxy-ca", c.authn.ProxyCA()))
		if ca := c.authn.ServiceCA(); ca != nil {
			list = append(list, certificateAuthority("decrypt-client-ca", ca))
		}
		return list
	}
	if ca := i.authn.ClientCA(); ca != nil {
		return []certificate{certificateAuthority("client-ca", ca)}
	}
	return nil
}

// clientCertificates are those of the kubeconfig of a flag.
func clientCertificates(flag string, config *restclient.Config) []certificate {
	part := func(use string, bundle bool, file string, data []byte) certificate {
		if len(data) > 0 {
			return certificate{use: use, bundle: bundle, pem: func() []byte { return data }}
		}
		return certificateFile(use, bundle, file)
	}
	tls := config.TLSClientConfig
	return []certificate{
		part(flag+"-client", false, tls.CertFile, tls.CertData),
		part(flag+"-ca", true, tls.CAFile, tls.CAData),
	}
}

// certificateFault returns why the certificate in force is not the one in the file, or nil.
func (s *server) certificateFault(inForce dynamiccertificates.CertKeyContentProvider) error {
	pair := s.opts.Serving.ServerCert.CertKey
	if err := reload.CheckFile(pair.KeyFile, reload.Credentials); err != nil { // upstream reloads it unchecked
		return err
	}
	found, err := reload.ReadFile(pair.CertFile, reload.Rights)
	if err != nil {
		return err
	}
	if chain, _ := inForce.CurrentCertKeyContent(); !bytes.Equal(found, chain) {
		return errors.New("another certificate is in force")
	}
	return nil
}

var certificateExpiry = metrics.NewDesc("secret_certificate_expiry_timestamp_seconds",
	"Expiry of each certificate that the server uses, by use. A CA bundle expires with its last certificate.",
	[]string{"use"}, nil, metrics.ALPHA, "")

// certificateCollector publishes when certificates expire.
type certificateCollector struct {
	metrics.BaseStableCollector
	mu   sync.Mutex
	list []certificate
}

// certificateMetrics is registered once in a process.
var certificateMetrics certificateCollector

var registerCertificates = sync.OnceFunc(func() { legacyregistry.CustomMustRegister(&certificateMetrics) })

// publish replaces the certificates of the process.
func (c *certificateCollector) publish(list []certificate) {
	registerCertificates()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = list
}

// DescribeWithStability implements metrics.StableCollector.
func (c *certificateCollector) DescribeWithStability(ch chan<- *metrics.Desc) {
	ch <- certificateExpiry
}

// CollectWithStability implements metrics.StableCollector.
func (c *certificateCollector) CollectWithStability(ch chan<- metrics.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.list {
		if end, ok := one.end(); ok {
			ch <- metrics.NewLazyConstMetric(certificateExpiry, metrics.GaugeValue, float64(end.Unix()), one.use)
		}
	}
}
