// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/keyutil"

	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

func TestInstall(t *testing.T) {
	for _, authority := range []Authority{ServingAuthority(namespace), EtcdAuthority(namespace)} {
		t.Run(authority.Name, func(t *testing.T) {
			w := newWorld(t, authority)
			w.mustReconcile()

			ca := w.ca()
			if !ca.canSign(w.clock.Now()) || ca.cert.PublicKey.(*ecdsa.PublicKey).Curve != elliptic.P256() {
				t.Errorf("the CA is %+v", ca.cert)
			}
			if got := w.bundle(); !bytes.Equal(got, pki.Encode(ca.cert)) {
				t.Errorf("published is %q", got)
			}
			for _, want := range authority.Certificates {
				leaf := w.leaf(want.Secret)
				if leaf.cert == nil || leaf.cert.IsCA || !want.matches(leaf.cert) ||
					len(leaf.cert.ExtKeyUsage) != len(want.Usages) {
					t.Errorf("%s holds %+v", want.Secret, leaf.cert)
				}
				if got := w.secret(want.Secret); !bytes.Equal(got.Data[bundleKey], pki.Encode(ca.cert)) ||
					len(got.Data) != 3 || got.Type != corev1.SecretTypeTLS {
					t.Errorf("%s has keys %d, type %s", want.Secret, len(got.Data), got.Type)
				}
			}
		})
	}
}

func TestNothingToDoWritesNothing(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	w.install()
	before := w.writes
	for range 3 {
		w.pass(w.mustReconcile())
	}
	if w.writes != before {
		t.Errorf("%d writes with nothing to do", w.writes-before)
	}
	if w.probes != 0 {
		t.Errorf("asked the endpoints %d times with one CA", w.probes)
	}
}

func TestRenewsBeforeTheEnd(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	w.install()
	first, ca := w.leaf(ServingSecret), w.ca()

	w.clock.SetTime(renewAt(first.cert).Add(-2 * time.Hour))
	w.mustReconcile()
	if !w.leaf(ServingSecret).cert.Equal(first.cert) {
		t.Error("renewed with more than a third of its life left")
	}
	w.until("renewed", func() bool { return !w.leaf(ServingSecret).cert.Equal(first.cert) })
	renewed := w.leaf(ServingSecret)
	if left := first.cert.NotAfter.Sub(w.clock.Now()); left < 29*24*time.Hour {
		t.Errorf("renewed with only %s left", left)
	}
	if renewed.key.Public().(*ecdsa.PublicKey).Equal(first.key.Public()) {
		t.Error("renewed with the old key")
	}
	if !w.ca().cert.Equal(ca.cert) || !pki.Signed(ca.cert, renewed.cert) {
		t.Error("renewing a certificate replaced the CA")
	}
}

func TestHeals(t *testing.T) {
	foreign, err := newCA("foreign", time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), time.Hour*24*365)
	if err != nil {
		t.Fatal(err)
	}
	setBundle := func(bundle []byte) func(*world) {
		return func(w *world) {
			object := w.apiService()
			w.edit(object, func() { object.Spec.CABundle = bundle })
		}
	}
	setData := func(name, key string, value []byte) func(*world) {
		return func(w *world) {
			secret := w.secret(name)
			w.edit(secret, func() { secret.Data[key] = value })
		}
	}
	foreignLeaf := func(w *world) {
		leaf, err := foreign.issue(w.authority.Certificates[0], w.clock.Now(), time.Hour*24*30)
		if err != nil {
			w.t.Fatal(err)
		}
		w.planted = leaf.cert
		secret := w.secret(ServingSecret)
		w.edit(secret, func() {
			if _, err := storePair(secret, leaf, pki.Encode(foreign.cert)); err != nil {
				w.t.Fatal(err)
			}
		})
	}
	for name, breakIt := range map[string]func(*world){
		"caBundle removed":      setBundle(nil),
		"caBundle garbled":      setBundle([]byte("not PEM")),
		"caBundle of another":   setBundle(pki.Encode(foreign.cert)),
		"certificate deleted":   func(w *world) { w.remove(ServingSecret) },
		"certificate garbled":   setData(ServingSecret, corev1.TLSCertKey, []byte("-----BEGIN CERTIFICATE-----")),
		"certificate emptied":   setData(ServingSecret, corev1.TLSCertKey, nil),
		"key of another":        setData(ServingSecret, corev1.TLSPrivateKeyKey, mustKey(t, foreign)),
		"key garbled":           setData(ServingSecret, corev1.TLSPrivateKeyKey, bytes.Repeat([]byte{0xff}, 1<<20)),
		"bundle beside removed": setData(ServingSecret, bundleKey, nil),
		"something added":       setData(ServingSecret, "more", []byte("x")),
		"verification disabled": func(w *world) {
			object := w.apiService()
			w.edit(object, func() { object.Spec.CABundle, object.Spec.InsecureSkipTLSVerify = nil, true })
		},
		"certificate of another CA": foreignLeaf,
		"another CA everywhere but at home": func(w *world) {
			foreignLeaf(w)
			setBundle(pki.Encode(foreign.cert))(w)
		},
		"annotation garbled": func(w *world) {
			secret := w.secret(ServingCASecret)
			w.edit(secret, func() { secret.Annotations[publishedAnnotation] = "yesterday" })
		},
		"CA bundle removed": setData(ServingCASecret, bundleKey, nil),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, ServingAuthority(namespace))
			w.install()
			ca := w.ca()
			breakIt(w)
			w.mustReconcile()
			if contains(parseBundle(w.bundle()), foreign.cert) {
				t.Error("another CA is published")
			}
			w.reload()
			w.until("one CA", func() bool { return len(parseBundle(w.bundle())) == 1 })
			if !w.ca().cert.Equal(ca.cert) || !bytes.Equal(w.bundle(), pki.Encode(ca.cert)) ||
				w.apiService().Spec.InsecureSkipTLSVerify {
				t.Error("the CA was replaced, or is not the published one")
			}
			want := w.authority.Certificates[0]
			if secret := w.secret(ServingSecret); !want.matches(w.leaf(ServingSecret).cert) ||
				!bytes.Equal(secret.Data[bundleKey], w.bundle()) || len(secret.Data) != 3 {
				t.Error("the certificate was not made again")
			}
		})
	}
}

// TestLostCA takes the CA away while the endpoint serves by it: it goes the way of a rotation, with nothing refused.
func TestLostCA(t *testing.T) {
	other, err := newCA("other", time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), time.Hour*24*365)
	if err != nil {
		t.Fatal(err)
	}
	for name, lose := range map[string]func(*world){
		"deleted": func(w *world) { w.remove(ServingCASecret) },
		"key of another": func(w *world) {
			secret := w.secret(ServingCASecret)
			w.edit(secret, func() { secret.Data[corev1.TLSPrivateKeyKey] = mustKey(t, other) })
		},
		"no CA": func(w *world) {
			leaf, secret := w.leaf(ServingSecret), w.secret(ServingCASecret)
			w.edit(secret, func() {
				secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey] = pki.Encode(leaf.cert),
					mustKey(t, leaf)
			})
		},
		"deleted with the certificate": func(w *world) { w.remove(ServingCASecret); w.remove(ServingSecret) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, ServingAuthority(namespace))
			w.install()
			old := w.ca()
			lose(w)
			w.mustReconcile()
			if got := parseBundle(w.bundle()); len(got) != 2 || !contains(got, old.cert) {
				t.Fatalf("published are %d CAs; the old one must stay", len(got))
			}
			w.until("a certificate by the new CA",
				func() bool { return pki.Signed(w.ca().cert, w.leaf(ServingSecret).cert) })
			w.reload()
			w.until("one CA", func() bool { return len(parseBundle(w.bundle())) == 1 })
			if contains(parseBundle(w.bundle()), old.cert) || !validAt(old.cert, w.clock.Now()) {
				t.Error("the lost CA was trusted until its end")
			}
			if !w.event("OldCADropped") {
				t.Error("no event says that it is not trusted any more")
			}
		})
	}
}

func TestCAOfAnotherIsNotTrusted(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	w.install()
	foreign, err := newCA("foreign", w.clock.Now(), time.Hour*24*365)
	if err != nil {
		t.Fatal(err)
	}
	object := w.apiService()
	w.edit(object, func() { object.Spec.CABundle = append(object.Spec.CABundle, pki.Encode(foreign.cert)...) })
	w.mustReconcile()
	if contains(parseBundle(w.bundle()), foreign.cert) {
		t.Error("a CA that was added to the caBundle stayed in it")
	}
}

// TestCAThatDoesNotRotate is for etcd, which would not learn of a new CA.
func TestCAThatDoesNotRotate(t *testing.T) {
	t.Run("lives on", func(t *testing.T) {
		w := newWorld(t, EtcdAuthority(namespace))
		w.install()
		ca := w.ca()
		w.pass(8 * 365 * 24 * time.Hour)
		w.mustReconcile()
		if !w.ca().cert.Equal(ca.cert) {
			t.Error("was replaced")
		}
		if !w.event("CAEnds") {
			t.Error("no event warns of its end")
		}
	})
	t.Run("lost while in use", func(t *testing.T) {
		w := newWorld(t, EtcdAuthority(namespace))
		w.install()
		before := w.leaf(EtcdServerSecret)
		w.remove(EtcdCASecret)
		if _, err := w.reconcile(); err == nil || !strings.Contains(err.Error(), "restore the Secret") {
			t.Fatalf("got %v", err)
		}
		if w.ca().cert != nil || !w.leaf(EtcdServerSecret).cert.Equal(before.cert) {
			t.Error("made another CA that nobody trusts")
		}
		if !w.event("CALost") {
			t.Error("no event says so")
		}
	})
	t.Run("all given up by people", func(t *testing.T) {
		w := newWorld(t, EtcdAuthority(namespace))
		w.install()
		w.remove(EtcdCASecret)
		w.served = nil // etcd is stopped
		for _, c := range w.authority.Certificates {
			w.remove(c.Secret)
		}
		w.mustReconcile()
		if w.ca().cert == nil || !pki.Signed(w.ca().cert, w.leaf(EtcdPeerSecret).cert) {
			t.Error("did not start over")
		}
	})
}

func TestNewNameIsIssued(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	w.install()
	w.authority.Certificates[0].DNSNames = append(w.authority.Certificates[0].DNSNames, "added.example")
	w.mustReconcile()
	if err := w.leaf(ServingSecret).cert.VerifyHostname("added.example"); err != nil {
		t.Error(err)
	}
}

// TestTwoLeaders lets another one write between reading and writing: nothing of it is overwritten.
func TestTwoLeaders(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	w.install()
	r := &Reconciler{Authority: w.authority, Lifetimes: DefaultLifetimes(), Client: w.client, Reader: w.client,
		Prober: w, Events: w.events, Clock: w.clock}
	stale, err := r.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.clock.SetTime(renewAt(w.ca().cert))
	w.mustReconcile()
	other := w.ca()
	s := read(stale.ca, stale.leaves, stale.apiService.Spec.CABundle, w.clock.Now())
	if s, err = r.ensureSigner(stale, s, w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if err := r.saveCA(t.Context(), stale, s); err == nil || !strings.Contains(err.Error(), "Conflict") {
		t.Errorf("got %v", err)
	}
	if _, err := r.publish(t.Context(), stale, s, w.clock.Now()); err == nil {
		t.Error("published over what another leader had published")
	}
	if !w.ca().cert.Equal(other.cert) || !contains(parseBundle(w.bundle()), other.cert) {
		t.Error("overwrote what another leader had written")
	}
}

func TestSecretOfAnotherTypeIsLeftAlone(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	secret := &corev1.Secret{Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"password": []byte("x")}}
	secret.Namespace, secret.Name = namespace, ServingSecret
	if err := w.client.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if _, err := w.reconcile(); err == nil || !strings.Contains(err.Error(), "kubernetes.io/tls") {
		t.Errorf("got %v", err)
	}
	if string(w.secret(ServingSecret).Data["password"]) != "x" {
		t.Error("overwritten")
	}
}

func mustKey(t *testing.T, p pair) []byte {
	t.Helper()
	key, err := keyutil.MarshalPrivateKeyToPEM(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
