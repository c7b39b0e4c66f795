// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	expiry = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "secret_certificate_expiry_timestamp_seconds",
		Help: "When a certificate ends that the own CA issued, by the Secret that holds it.",
	}, []string{"secret"})
	bundleSize = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "secret_ca_bundle_certificates",
		Help: "CAs in the published bundle, by authority. More than one while a CA is replaced.",
	}, []string{"authority"})
)

func init() { metrics.Registry.MustRegister(expiry, bundleSize) }

// observe publishes what is in use now.
func (r *Reconciler) observe(s state) {
	expiry.WithLabelValues(r.Authority.CASecret).Set(float64(s.signer.cert.NotAfter.Unix()))
	for i, leaf := range s.leaves {
		expiry.WithLabelValues(r.Authority.Certificates[i].Secret).Set(float64(leaf.cert.NotAfter.Unix()))
	}
	bundleSize.WithLabelValues(r.Authority.Name).Set(float64(len(s.trusted)))
}
