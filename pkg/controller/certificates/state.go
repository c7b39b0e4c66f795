// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"bytes"
	"crypto/x509"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/keyutil"

	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

const (
	// bundleKey is the key in a Secret of the CAs to trust.
	bundleKey = "ca.crt"
	// publishedAnnotation of a CA Secret is the time when its CA was first in the published bundle.
	publishedAnnotation = "secret.grafana.app/ca-published-at"
	// dropOldAnnotation of a CA Secret is "true" when old CAs are to leave the bundle ahead of their expiry.
	dropOldAnnotation = "secret.grafana.app/drop-old-cas"
)

// state is the content of the Secrets of an authority and of its APIService.
type state struct {
	// signer is the CA. Zero when there is none that can sign.
	signer pair
	// trusted is the bundle, the signer first.
	trusted []*x509.Certificate
	// published is when the signer was first in the published bundle, or zero.
	published time.Time
	// dropOld is set when the signer replaced a CA ahead of time.
	dropOld bool
	// leaves are the content of the Secrets of Authority.Certificates, in their order.
	leaves []pair
}

// read returns the stored state. While there is a signer, an old CA is trusted only if it is in the CA Secret:
// permission to edit a caBundle or a certificate is not enough to add a CA. Without a signer, what was published stays
// until no endpoint serves by it.
func read(ca *corev1.Secret, leaves []*corev1.Secret, published []byte, now time.Time) state {
	s := state{signer: parsePair(ca.Data[corev1.TLSCertKey], ca.Data[corev1.TLSPrivateKeyKey])}
	listed := parseBundle(ca.Data[bundleKey])
	candidates := slices.Concat(listed, parseBundle(ca.Data[corev1.TLSCertKey]), parseBundle(published))
	for _, secret := range leaves {
		s.leaves = append(s.leaves, parsePair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]))
		candidates = append(candidates, parseBundle(secret.Data[bundleKey])...)
	}
	if s.signer.canSign(now) {
		s.published, _ = time.Parse(time.RFC3339, ca.Annotations[publishedAnnotation])
		s.dropOld = ca.Annotations[dropOldAnnotation] == "true"
		s.trusted = append(s.trusted, s.signer.cert)
	} else {
		s.signer = pair{}
	}
	for _, c := range candidates {
		trusted := s.signer.cert == nil || contains(listed, c)
		if trusted && validAt(c, now) && !contains(s.trusted, c) {
			s.trusted = append(s.trusted, c)
		}
	}
	return s
}

// withSigner makes ca the signer. CAs that were trusted still are.
func (s state) withSigner(ca pair) state {
	s.dropOld = s.signer.cert == nil && len(s.trusted) > 0
	s.signer, s.published = ca, time.Time{}
	s.trusted = append([]*x509.Certificate{ca.cert}, s.trusted...)
	return s
}

// serves reports whether clients with the bundle accept a leaf.
func (s state) serves(leaf pair, now time.Time) bool {
	return leaf.cert != nil && validAt(leaf.cert, now) && signedByAny(s.trusted, leaf.cert)
}

// anyServes reports whether a certificate is in use, which a new CA would not have signed.
func (s state) anyServes(now time.Time) bool {
	return slices.ContainsFunc(s.leaves, func(leaf pair) bool { return s.serves(leaf, now) })
}

// current reports whether a leaf is what c describes and not due for renewal.
func (s state) current(leaf pair, c Certificate, now time.Time) bool {
	return s.serves(leaf, now) && pki.Signed(s.signer.cert, leaf.cert) && c.matches(leaf.cert) &&
		now.Before(renewAt(leaf.cert))
}

// settled reports whether the signer issued every leaf, and Pods have had the time to mount it.
func (s state) settled(now time.Time) bool {
	return !slices.ContainsFunc(s.leaves, func(leaf pair) bool {
		return !s.serves(leaf, now) || !pki.Signed(s.signer.cert, leaf.cert) ||
			now.Before(leaf.cert.NotBefore.Add(pki.Backdate+mountTime))
	})
}

// mayIssue reports whether clients know the signer, or nothing works that a certificate of an unknown signer could
// break.
func (s state) mayIssue(leaf pair, now time.Time, propagation time.Duration) bool {
	return !s.serves(leaf, now) || (!s.published.IsZero() && !now.Before(s.published.Add(propagation)))
}

// waits reports whether a certificate in use is by an old CA and must stay so for now.
func (s state) waits(now time.Time, propagation time.Duration) bool {
	return slices.ContainsFunc(s.leaves, func(leaf pair) bool {
		return !s.mayIssue(leaf, now, propagation) && !pki.Signed(s.signer.cert, leaf.cert)
	})
}

// storeCA writes the CA into its Secret and reports whether that changed it.
func (s state) storeCA(secret *corev1.Secret) (changed bool, err error) {
	changed, err = storePair(secret, s.signer, pki.Encode(s.trusted...))
	if err != nil {
		return false, err
	}
	marks := map[string]string{publishedAnnotation: "", dropOldAnnotation: strconv.FormatBool(s.dropOld)}
	if !s.published.IsZero() {
		marks[publishedAnnotation] = s.published.UTC().Format(time.RFC3339)
	}
	for key, value := range marks {
		changed = changed || secret.Annotations[key] != value
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, key, value)
	}
	return changed, nil
}

// storePair writes a certificate, its key and the bundle into a Secret and reports whether that changed it. A key that
// belongs to the certificate keeps its bytes.
func storePair(secret *corev1.Secret, p pair, bundle []byte) (changed bool, err error) {
	data := map[string][]byte{
		corev1.TLSCertKey: pki.Encode(p.cert), corev1.TLSPrivateKeyKey: secret.Data[corev1.TLSPrivateKeyKey],
		bundleKey: bundle,
	}
	stored := parsePair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if stored.cert == nil || !stored.cert.Equal(p.cert) {
		if data[corev1.TLSPrivateKeyKey], err = keyutil.MarshalPrivateKeyToPEM(p.key); err != nil {
			return false, err
		}
	}
	for key, value := range data {
		changed = changed || !bytes.Equal(secret.Data[key], value)
	}
	changed = changed || len(secret.Data) != len(data)
	secret.Data = data
	return changed, nil
}
