// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// bundleKey is the key of a Secret that holds the CAs to trust.
	bundleKey = "ca.crt"
	// publishedAnnotation of a CA Secret is when its CA was first in the published bundle.
	publishedAnnotation = "secret.grafana.app/ca-published-at"
)

// state is what the Secrets of an authority and its APIService say.
type state struct {
	// signer is the CA. Zero when there is none that may sign.
	signer pair
	// trusted is the bundle, the signer first.
	trusted []*x509.Certificate
	// published is when the signer was first in the published bundle. Zero if it was not.
	published time.Time
	// leaves are what is in the Secrets of Authority.Certificates, by their position.
	leaves []pair
}

// read makes a state of what is stored. As long as there is a signer, an old CA is only trusted when the CA Secret lists
// it: whoever may edit a caBundle or a certificate cannot add a CA of their own by it. Without a signer, whatever was
// published stays until it is known that nobody serves by it.
func read(ca *corev1.Secret, leaves []*corev1.Secret, published []byte, now time.Time) state {
	s := state{signer: parsePair(ca.Data[corev1.TLSCertKey], ca.Data[corev1.TLSPrivateKeyKey])}
	listed := parseBundle(ca.Data[bundleKey])
	candidates := slices.Concat(listed, parseBundle(ca.Data[corev1.TLSCertKey]), parseBundle(published))
	for _, secret := range leaves {
		s.leaves = append(s.leaves, parsePair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]))
		candidates = append(candidates, parseBundle(secret.Data[bundleKey])...)
	}
	if s.signer.signs(now) {
		s.published, _ = time.Parse(time.RFC3339, ca.Annotations[publishedAnnotation])
		s.trusted = append(s.trusted, s.signer.cert)
	} else {
		s.signer = pair{}
	}
	for _, c := range candidates {
		believed := s.signer.cert == nil || has(listed, c)
		if believed && within(c, now) && !has(s.trusted, c) {
			s.trusted = append(s.trusted, c)
		}
	}
	return s
}

func has(certs []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(certs, func(other *x509.Certificate) bool { return bytes.Equal(other.Raw, c.Raw) })
}

// withSigner makes ca the signer. Who was trusted still is.
func (s state) withSigner(ca pair) state {
	s.signer, s.published = ca, time.Time{}
	s.trusted = append([]*x509.Certificate{ca.cert}, s.trusted...)
	return s
}

// serves reports whether a leaf is accepted by those who have the bundle.
func (s state) serves(leaf pair, now time.Time) bool {
	return leaf.cert != nil && within(leaf.cert, now) && signedByAny(s.trusted, leaf.cert)
}

// anyServes reports whether something is in use that a new CA did not sign.
func (s state) anyServes(now time.Time) bool {
	return slices.ContainsFunc(s.leaves, func(leaf pair) bool { return s.serves(leaf, now) })
}

// current reports whether a leaf is what is wanted and will be for a while.
func (s state) current(leaf pair, want Certificate, now time.Time) bool {
	return s.serves(leaf, now) && signed(s.signer.cert, leaf.cert) && covers(leaf.cert, want) && now.Before(renewAt(leaf.cert))
}

// settled reports whether every leaf is by the signer.
func (s state) settled(now time.Time) bool {
	return !slices.ContainsFunc(s.leaves, func(leaf pair) bool {
		return !s.serves(leaf, now) || !signed(s.signer.cert, leaf.cert)
	})
}

// mayIssue reports whether the signer is known to those who check its certificates, or nothing is in use that a
// certificate by an unknown one would make worse.
func (s state) mayIssue(leaf pair, now time.Time, propagation time.Duration) bool {
	return !s.serves(leaf, now) || (!s.published.IsZero() && !now.Before(s.published.Add(propagation)))
}

// secretOf writes the CA into its Secret and reports whether that changed it.
func (s state) storeCA(secret *corev1.Secret) (changed bool, err error) {
	changed, err = storePair(secret, s.signer, encode(s.trusted...))
	if err != nil {
		return false, err
	}
	stamp := ""
	if !s.published.IsZero() {
		stamp = s.published.UTC().Format(time.RFC3339)
	}
	if secret.Annotations[publishedAnnotation] != stamp {
		if secret.Annotations == nil {
			secret.Annotations = map[string]string{}
		}
		secret.Annotations[publishedAnnotation] = stamp
		changed = true
	}
	return changed, nil
}

// storePair writes a certificate, its key and the bundle into a Secret and reports whether that changed it. A key that
// belongs to the certificate is left as it is.
func storePair(secret *corev1.Secret, p pair, bundle []byte) (changed bool, err error) {
	data := map[string][]byte{
		corev1.TLSCertKey: encode(p.cert), corev1.TLSPrivateKeyKey: secret.Data[corev1.TLSPrivateKeyKey], bundleKey: bundle,
	}
	if stored := parsePair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]); stored.cert == nil || !stored.cert.Equal(p.cert) {
		if data[corev1.TLSPrivateKeyKey], err = p.keyPEM(); err != nil {
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
