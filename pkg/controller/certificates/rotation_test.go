// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

// TestRotationOrder is the order of doc.go, with the promise of world.check after each write.
func TestRotationOrder(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	w.install()
	old := w.ca()
	w.age()
	if !w.ca().cert.Equal(old.cert) {
		t.Fatal("replaced with more than a third of its life left")
	}
	w.until("a new CA", func() bool { return !w.ca().cert.Equal(old.cert) })
	w.event("")

	// Made and published in one step, beside the old one; not used.
	next, leaf := w.ca(), w.leaf(ServingSecret)
	if got := parseBundle(w.bundle()); len(got) != 2 || !got[0].Equal(next.cert) || !got[1].Equal(old.cert) {
		t.Fatalf("published are %d CAs", len(got))
	}
	if !pki.Signed(old.cert, leaf.cert) {
		t.Fatal("the new CA signed before anybody could know it")
	}
	if data := w.secret(ServingCASecret).Data; len(data) != 3 ||
		bytes.Count(slices.Concat(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey], data[bundleKey]),
			[]byte("PRIVATE KEY-----\n")) != 2 {
		t.Error("the Secret keeps another key than that of the new CA")
	}
	w.clock.SetTime(w.publishedAt().Add(DefaultLifetimes().Propagation - time.Second))
	w.mustReconcile()
	if !w.leaf(ServingSecret).cert.Equal(leaf.cert) {
		t.Fatal("issued by the new CA before it had time to spread")
	}

	// Used once it spread; the old one stays, for the endpoint did not reload yet.
	w.pass(time.Second)
	if after := w.mustReconcile(); after > probeInterval {
		t.Errorf("asks the endpoint again in %s", after)
	}
	if !pki.Signed(next.cert, w.leaf(ServingSecret).cert) {
		t.Fatal("not issued by the new CA in time")
	}
	w.reload()

	// It expires in the bundle: a client that copied it verifies nothing by it any more.
	w.renewUntil(old.cert.NotAfter.Add(-time.Minute))
	if after := w.mustReconcile(); after > time.Minute {
		t.Errorf("comes a minute before its end, and again in %s", after)
	}
	if got := parseBundle(w.bundle()); len(got) != 2 {
		t.Fatalf("a minute before its end %d CAs are published", len(got))
	}
	w.pass(time.Minute)
	w.mustReconcile()
	if got := parseBundle(w.bundle()); len(got) != 1 || !got[0].Equal(next.cert) {
		t.Errorf("published are %d CAs", len(got))
	}
	if !bytes.Equal(w.secret(ServingSecret).Data[bundleKey], w.bundle()) {
		t.Error("the bundle beside the certificate is another than the published one")
	}
	if w.probes != 0 {
		t.Errorf("asked the endpoints %d times", w.probes)
	}
}

// TestOldCADroppedOnRequest is for an old CA whose key leaked after it was replaced as planned.
func TestOldCADroppedOnRequest(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	w.install()
	w.age()
	w.pass(24 * time.Hour)
	w.mustReconcile()
	w.pass(DefaultLifetimes().Propagation)
	w.mustReconcile()
	w.reload()
	w.pass(mountTime)
	secret := w.secret(ServingCASecret)
	w.edit(secret, func() { secret.Annotations[dropOldAnnotation] = "true" })
	w.mustReconcile()
	if got := parseBundle(w.bundle()); len(got) != 1 {
		t.Errorf("published are %d CAs", len(got))
	}
}

// TestRotationIsTold: people hear of a new CA a week before it matters to those who copied the old one.
func TestRotationIsTold(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	start := func() float64 { return testutil.ToFloat64(signingStart.WithLabelValues(w.authority.Name)) }
	w.mustReconcile()
	if start() != 0 {
		t.Error("the first CA waits")
	}
	w.event("")
	w.install()
	w.age()
	w.pass(24 * time.Hour)
	w.mustReconcile()
	if want := w.publishedAt().Add(DefaultLifetimes().Propagation); start() != float64(want.Unix()) {
		t.Errorf("the metric is %f, want %d", start(), want.Unix())
	}
	if !w.event("after 168h0m0s in the published bundle") {
		t.Error("no event says so")
	}
	w.pass(DefaultLifetimes().Propagation)
	w.mustReconcile()
	if start() != 0 {
		t.Error("the metric still says that it waits")
	}
}

// TestRotationWithNoEndpoint has every server down: one that starts now would load the certificate by the old CA.
func TestRotationWithNoEndpoint(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	w.install()
	old := w.ca()
	w.remove(ServingCASecret)
	w.served = nil
	w.mustReconcile()
	w.pass(time.Second)
	w.mustReconcile()
	if got := parseBundle(w.bundle()); len(got) != 2 || !pki.Signed(old.cert, w.leaf(ServingSecret).cert) {
		t.Fatalf("published are %d CAs", len(got))
	}
	w.until("one CA", func() bool { return len(parseBundle(w.bundle())) == 1 })
}

// TestOldCAStaysWhilePodsMount has every endpoint serve by the new CA at once: a Pod that is none yet may have mounted
// the old certificate.
func TestOldCAStaysWhilePodsMount(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	w.install()
	w.remove(ServingCASecret)
	w.mustReconcile()
	w.pass(DefaultLifetimes().Propagation)
	w.mustReconcile()
	w.reload()
	w.pass(mountTime - time.Second)
	w.mustReconcile()
	if got := parseBundle(w.bundle()); len(got) != 2 {
		t.Fatalf("published are %d CAs while Pods may still mount the old certificate", len(got))
	}
	w.pass(time.Second)
	w.mustReconcile()
	if got := parseBundle(w.bundle()); len(got) != 1 {
		t.Errorf("published are %d CAs", len(got))
	}
}

// pausing is a leader that is paused after its first read, and replaced meanwhile.
type pausing struct {
	client.Reader
	meanwhile func()
}

func (p *pausing) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	err := p.Reader.Get(ctx, key, obj, opts...)
	if do := p.meanwhile; do != nil {
		p.meanwhile = nil
		do()
	}
	return err
}

// TestPausedLeaderPublishesNothingOld replaces the CA while a leader is paused: world.check holds after each write.
func TestPausedLeaderPublishesNothingOld(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	w.install()
	paused := w.reconciler()
	paused.Reader = &pausing{Reader: w.client, meanwhile: func() {
		old := w.ca()
		w.remove(ServingCASecret)
		w.mustReconcile()
		w.until("a certificate by the new CA", func() bool {
			return !w.ca().cert.Equal(old.cert) && pki.Signed(w.ca().cert, w.leaf(ServingSecret).cert)
		})
		w.reload()
		w.until("one CA", func() bool { return len(parseBundle(w.bundle())) == 1 })
	}}
	_, _ = paused.Reconcile(klog.NewContext(t.Context(), logr.Discard()), reconcile.Request{}) // may fail by a conflict
	w.check()
}

func (w *world) publishedAt() time.Time {
	w.t.Helper()
	at, err := time.Parse(time.RFC3339, w.secret(w.authority.CASecret).Annotations[publishedAnnotation])
	if err != nil {
		w.t.Fatal(err)
	}
	return at
}

// TestManyYears lets the endpoint, and an application that copied the bundle, lag almost a week behind through many
// rotations: world.check holds throughout.
func TestManyYears(t *testing.T) {
	w := newWorld(t, ServingAuthority(namespace))
	w.install()
	seen := map[string]bool{}
	reloadAt := w.clock.Now()
	for end := w.clock.Now().AddDate(4, 0, 0); w.clock.Now().Before(end); {
		after := w.mustReconcile()
		seen[w.ca().cert.SerialNumber.String()] = true
		if !w.clock.Now().Before(reloadAt) {
			w.reload()
			w.copied = w.bundle()
			reloadAt = w.clock.Now().Add(6 * 24 * time.Hour)
		}
		if !validAt(w.served, w.clock.Now()) {
			t.Fatalf("the endpoint's certificate ended before there was another, at %s", w.clock.Now())
		}
		w.pass(max(after, 24*time.Hour)) // a leader that is late
	}
	if len(seen) < 6 || len(seen) > 7 {
		t.Errorf("%d CAs in four years", len(seen))
	}
}

// TestInterruptedAtEveryWrite fails each write in turn, once before and once after it took place, as a leader that dies
// does. The next leader finishes, and world.check holds after every write.
func TestInterruptedAtEveryWrite(t *testing.T) {
	for _, phase := range []struct {
		name        string
		before      func(w *world)
		writes, cas int
	}{
		{"install", func(*world) {}, 4, 1},
		{"rotation", func(w *world) { w.install(); w.age(); w.pass(24 * time.Hour) }, 5, 2},
		{"lost CA", func(w *world) { w.install(); w.remove(ServingCASecret) }, 8, 1},
	} {
		for _, after := range []bool{false, true} {
			for n := 1; n <= phase.writes; n++ {
				t.Run(fmt.Sprintf("%s, write %d, after it took place %t", phase.name, n, after), func(t *testing.T) {
					w := newWorld(t, ServingAuthority(namespace))
					phase.before(w)
					w.interrupt(n, after, phase.cas)
				})
			}
		}
	}
}

// interrupt reconciles until all is done and so many CAs are published, with write n failing.
func (w *world) interrupt(n int, after bool, cas int) {
	w.t.Helper()
	old := w.ca().cert
	w.writes, w.failAt, w.failAfter = 0, n, after
	failed := 0
	for range 20 {
		d, err := w.reconcile()
		if d == longestSleep {
			d = 24 * time.Hour // a leader that is late
		}
		if errors.Is(err, errInjected) || (err != nil && strings.Contains(err.Error(), "no answer")) {
			failed++
			d = time.Second
		} else if err != nil {
			w.t.Fatal(err)
		}
		w.check()
		w.reload()
		w.pass(d)
	}
	if failed != 1 {
		w.t.Errorf("%d failures after %d writes", failed, w.writes)
	}
	got := parseBundle(w.bundle())
	if len(got) != cas || (old != nil && got[0].Equal(old)) || !pki.Signed(got[0], w.leaf(ServingSecret).cert) {
		w.t.Errorf("did not come to its end: %d CAs", len(got))
	}
}
