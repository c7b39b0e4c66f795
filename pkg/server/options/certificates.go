// SPDX-License-Identifier: Apache-2.0

package options

import (
	"os"
	"sync"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// certificate is one that the process uses. It is read when metrics are: what its source holds then is what is used.
type certificate struct {
	use string
	// bundle is a set of CAs, of which any may verify: it ends with the last of them. A chain ends with the first.
	bundle bool
	pem    func() []byte
}

// certificateFile is for what is read from its file whenever it is used.
func certificateFile(use string, bundle bool, file string) certificate {
	return certificate{use: use, bundle: bundle, pem: func() []byte {
		data, err := os.ReadFile(file) //nolint:gosec // named by a flag
		if err != nil {
			return nil // its user reports that
		}
		return data
	}}
}

func certificateAuthority(use string, ca dynamiccertificates.CAContentProvider) certificate {
	return certificate{use: use, bundle: true, pem: ca.CurrentCABundleContent}
}

// end returns when c ends, and false when there is none.
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

// certificates lists those of this process.
func (o CompletedOptions) certificates(inputs *Inputs, api *genericapiserver.SecureServingInfo) []certificate {
	keyContent := func(content dynamiccertificates.CertKeyContentProvider) func() []byte {
		return func() []byte {
			chain, _ := content.CurrentCertKeyContent()
			return chain
		}
	}
	list := []certificate{{use: "serving", pem: keyContent(api.Cert)}}
	for _, own := range api.SNICerts { // the only one is upstream's, for this process's own requests: see WithLoopback
		list = append(list, certificate{use: "loopback", pem: keyContent(own)})
	}
	files := []certificate{
		certificateFile("serving-ca", true, o.Serving.caFile),
		certificateFile("etcd-client", false, o.Storage.upstream.StorageConfig.Transport.CertFile),
		certificateFile("etcd-ca", true, o.Storage.upstream.StorageConfig.Transport.TrustedCAFile),
	}
	list = append(list, files...)
	return append(list, inputs.certificates()...)
}

// certificates are those that callers are verified with, and those for kube-apiserver.
func (i *Inputs) certificates() []certificate {
	if i.cluster != nil {
		list := append(i.cluster.core.certificates, certificateAuthority("client-ca", i.cluster.authn.ClientCA()),
			certificateAuthority("front-proxy-ca", i.cluster.authn.ProxyCA()))
		if ca := i.cluster.authn.ServiceCA(); ca != nil {
			list = append(list, certificateAuthority("decrypt-client-ca", ca))
		}
		return list
	}
	if ca := i.authn.ClientCA(); ca != nil {
		return []certificate{certificateAuthority("client-ca", ca)}
	}
	return nil
}

// clientCertificates are those of a kubeconfig. flag names it.
func clientCertificates(flag string, config *restclient.Config) []certificate {
	part := func(use string, bundle bool, file string, data []byte) certificate {
		if len(data) > 0 {
			return certificate{use: use, bundle: bundle, pem: func() []byte { return data }}
		}
		return certificateFile(use, bundle, file)
	}
	tls := config.TLSClientConfig
	return []certificate{part(flag+"-client", false, tls.CertFile, tls.CertData), part(flag+"-ca", true, tls.CAFile, tls.CAData)}
}

var certificateExpiry = metrics.NewDesc("secret_certificate_expiry_timestamp_seconds",
	"When a certificate ends that the server uses, by use. A CA bundle ends with the last certificate in it.", []string{"use"}, nil, metrics.ALPHA, "")

// certificateCollector publishes the ends of certificates.
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
