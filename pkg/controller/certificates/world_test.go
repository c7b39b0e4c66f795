// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const namespace = "secret-system"

var errInjected = errors.New("injected")

// world is a cluster of the objects of one authority, a clock that stands still, and one endpoint that serves whatever
// it last read, as a server behind a kubelet does.
type world struct {
	t         *testing.T
	authority Authority
	clock     *clocktesting.FakePassiveClock
	client    client.WithWatch
	events    *events.FakeRecorder

	// served is the certificate that the endpoint holds in memory; nil before it started.
	served *x509.Certificate
	// copied is a bundle that an application has read some time ago; nil for none.
	copied []byte
	// planted is a certificate that somebody else put into a Secret. Nothing is promised about it.
	planted *x509.Certificate
	// probes counts how often the endpoint was asked.
	probes int
	// writes counts writes; the one numbered failAt fails, before or after it took place.
	writes, failAt int
	failAfter      bool
}

func newWorld(t *testing.T, authority Authority) *world {
	t.Helper()
	w := &world{
		t: t, authority: authority, events: events.NewFakeRecorder(1000),
		clock: clocktesting.NewFakePassiveClock(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)),
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme,
		apiregistrationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	if authority.APIService != "" {
		builder = builder.WithObjects(&apiregistrationv1.APIService{
			ObjectMeta: metav1.ObjectMeta{Name: authority.APIService},
		})
	}
	w.client = builder.WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return w.write(func() error { return c.Create(ctx, obj, opts...) }) //nolint:contextcheck // test's
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return w.write(func() error { return c.Update(ctx, obj, opts...) }) //nolint:contextcheck // test's
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch,
			opts ...client.PatchOption) error {
			return w.write(func() error { return c.Patch(ctx, obj, patch, opts...) }) //nolint:contextcheck // test's
		},
	}).Build()
	return w
}

// write counts a write, makes the chosen one fail, and checks what must hold after each.
func (w *world) write(do func() error) error {
	w.writes++
	if w.writes == w.failAt && !w.failAfter {
		return errInjected
	}
	if err := do(); err != nil {
		return err
	}
	w.check()
	if w.writes == w.failAt {
		return errInjected
	}
	return nil
}

// check is the promise of the package: at every moment, those who check the endpoint's certificate and the stored one
// by the published bundle, or by their copy of it, accept it.
func (w *world) check() {
	w.t.Helper()
	w.checkBy(w.bundle())
	if w.copied != nil {
		w.checkBy(w.copied)
	}
}

func (w *world) checkBy(bundle []byte) {
	w.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	verify := func(what string, c *x509.Certificate) {
		if c == nil || !validAt(c, w.clock.Now()) || c.Equal(w.planted) {
			return
		}
		usages := []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: w.clock.Now(),
			KeyUsages: usages}); err != nil {
			w.t.Errorf("%s is not accepted by a bundle of %d: %v", what, len(parseBundle(bundle)), err)
		}
	}
	verify("what the endpoint serves", w.served)
	for _, c := range w.authority.Certificates {
		verify("the certificate in "+c.Secret, w.leaf(c.Secret).cert)
	}
}

// AllServe makes the world a Prober.
func (w *world) AllServe(_ context.Context, _, _, serverName string, ca []byte) error {
	w.probes++
	if w.served == nil {
		return nil
	}
	if err := w.served.VerifyHostname(serverName); err != nil {
		return err
	}
	if !signedByAny(parseBundle(ca), w.served) {
		return errors.New("endpoint serves by an old CA")
	}
	return nil
}

// reconciler is that of a new leader.
func (w *world) reconciler() *Reconciler {
	return &Reconciler{
		Authority: w.authority, Lifetimes: DefaultLifetimes(), Client: w.client, Reader: w.client, Prober: w,
		Events: w.events, Clock: w.clock,
	}
}

// reconcile runs a new leader once.
func (w *world) reconcile() (time.Duration, error) {
	w.t.Helper()
	result, err := w.reconciler().Reconcile(klog.NewContext(w.t.Context(), logr.Discard()), reconcile.Request{})
	return result.RequeueAfter, err
}

func (w *world) mustReconcile() time.Duration {
	w.t.Helper()
	after, err := w.reconcile()
	if err != nil {
		w.t.Fatalf("reconciling: %v", err)
	}
	if after <= 0 || after > longestSleep {
		w.t.Fatalf("sleeps for %s", after)
	}
	w.check()
	for _, ca := range parseBundle(w.bundle()) {
		if !validAt(ca, w.clock.Now()) {
			w.t.Errorf("a CA is published that is not valid at %s", w.clock.Now())
		}
	}
	return after
}

// install brings a new cluster up: issued, published, and served.
func (w *world) install() {
	w.t.Helper()
	w.mustReconcile()
	w.reload()
	w.pass(DefaultLifetimes().Propagation)
	w.mustReconcile()
}

// reload lets the endpoint read what the Secret holds now.
func (w *world) reload() { w.served = w.leaf(w.authority.Certificates[0].Secret).cert }

func (w *world) pass(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

// age lets the CA come to the day before it is replaced, with everything renewed and reloaded on the way.
func (w *world) age() {
	w.t.Helper()
	w.renewUntil(renewAt(w.ca().cert).Add(-24 * time.Hour))
}

// renewUntil lets time pass with everything renewed and reloaded on the way.
func (w *world) renewUntil(end time.Time) {
	w.t.Helper()
	for w.clock.Now().Before(end) {
		w.clock.SetTime(minTime(end, w.clock.Now().Add(20*24*time.Hour)))
		w.mustReconcile()
		w.reload()
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// until lets time pass in the steps that the reconciler asks for, until done.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for range 10_000 {
		if done() {
			return
		}
		w.pass(w.mustReconcile())
	}
	w.t.Fatalf("never: %s", what)
}

func (w *world) secret(name string) *corev1.Secret {
	w.t.Helper()
	secret := &corev1.Secret{}
	if err := client.IgnoreNotFound(w.client.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: name},
		secret)); err != nil {
		w.t.Fatal(err)
	}
	return secret
}

func (w *world) leaf(name string) pair {
	secret := w.secret(name)
	return parsePair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
}

func (w *world) ca() pair { return w.leaf(w.authority.CASecret) }

// bundle is what those who check certificates have.
func (w *world) bundle() []byte {
	w.t.Helper()
	if w.authority.APIService == "" {
		return w.secret(w.authority.CASecret).Data[bundleKey]
	}
	return w.apiService().Spec.CABundle
}

func (w *world) apiService() *apiregistrationv1.APIService {
	w.t.Helper()
	object := &apiregistrationv1.APIService{}
	if err := w.client.Get(w.t.Context(), client.ObjectKey{Name: w.authority.APIService}, object); err != nil {
		w.t.Fatal(err)
	}
	return object
}

// edit changes an object behind the reconciler's back. Nothing is promised about what somebody else breaks.
func (w *world) edit(obj client.Object, change func()) {
	w.t.Helper()
	change()
	served, authority := w.served, w.authority
	w.served, w.authority.Certificates = nil, nil
	defer func() { w.served, w.authority = served, authority }()
	if err := w.client.Update(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(name string) {
	w.t.Helper()
	if err := w.client.Delete(w.t.Context(), w.secret(name)); err != nil {
		w.t.Fatal(err)
	}
}

// event reports whether an event of the reason came since the last call.
func (w *world) event(reason string) bool {
	var all []string
	for {
		select {
		case e := <-w.events.Events:
			all = append(all, e)
		default:
			return slices.ContainsFunc(all, func(e string) bool {
				return strings.Contains(e, " "+reason)
			})
		}
	}
}
