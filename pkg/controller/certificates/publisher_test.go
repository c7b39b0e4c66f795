// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"encoding/pem"
	"maps"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

// labelled is a cache of the namespaces with the label.
type labelled struct{ client.Reader }

func (l labelled) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	err := l.Reader.Get(ctx, key, o, opts...)
	if err == nil && o.GetLabels()[namespaceLabel] != namespaceAllowed {
		return apierrors.NewNotFound(corev1.Resource("namespaces"), key.Name)
	}
	return err
}

// publishing is a cluster with two CAs in the caBundle, and a Publisher.
type publishing struct {
	*testing.T
	*Publisher
	first, second pair
}

func newPublishing(t *testing.T, objects ...client.Object) *publishing {
	t.Helper()
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiregistrationv1.AddToScheme} {
		if err := add(all); err != nil {
			t.Fatal(err)
		}
	}
	p := &publishing{T: t}
	for _, ca := range []*pair{&p.first, &p.second} {
		made, err := newCA("test", noon, StaticCALifetime)
		if err != nil {
			t.Fatal(err)
		}
		*ca = made
	}
	service := &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: apiService}}
	service.Spec.CABundle = pki.Encode(p.first.cert, p.second.cert)
	objects = append(objects, service)
	for name, value := range map[string]string{"shop": "allowed", "other": "denied"} {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{namespaceLabel: value}}})
	}
	cluster := fake.NewClientBuilder().WithScheme(all).WithObjects(objects...).Build()
	p.Publisher = &Publisher{Client: cluster, Reader: cluster, Namespaces: labelled{cluster},
		Events: events.NewFakeRecorder(10), without: map[string]bool{}}
	return p
}

func (p *publishing) reconcile(namespace string) {
	p.Helper()
	request := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace}}
	if _, err := p.Reconcile(klog.NewContext(p.Context(), logr.Discard()), request); err != nil {
		p.Fatal(err)
	}
}

func (p *publishing) setBundle(bundle []byte) {
	p.Helper()
	service := &apiregistrationv1.APIService{}
	if err := p.Client.Get(p.Context(), client.ObjectKey{Name: apiService}, service); err != nil {
		p.Fatal(err)
	}
	service.Spec.CABundle = bundle
	if err := p.Client.Update(p.Context(), service); err != nil {
		p.Fatal(err)
	}
}

// configMap is what is in the ConfigMap, nil without one.
func (p *publishing) configMap(namespace string) map[string]string {
	p.Helper()
	stored := &corev1.ConfigMap{}
	err := p.Client.Get(p.Context(), client.ObjectKey{Namespace: namespace, Name: "secret-ca"}, stored)
	if client.IgnoreNotFound(err) != nil {
		p.Fatal(err)
	}
	if stored.Immutable != nil {
		p.Error("it is still immutable")
	}
	return stored.Data
}

func (p *publishing) trustBundle() string {
	p.Helper()
	stored := &certificatesv1.ClusterTrustBundle{}
	err := p.Client.Get(p.Context(), client.ObjectKey{Name: "secret.grafana.app:serving:ca"}, stored)
	if client.IgnoreNotFound(err) != nil {
		p.Fatal(err)
	}
	return stored.Spec.TrustBundle
}

func named(namespace string, data map[string]string, own bool) *corev1.ConfigMap {
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "secret-ca"}, Data: data}
	if own {
		c.Labels = map[string]string{managedByLabel: managedBy}
	}
	return c
}

// TestPublishedBundle gives a caBundle as people and tools write it: kube-apiserver takes each ClusterTrustBundle.
func TestPublishedBundle(t *testing.T) {
	p := newPublishing(t)
	leaf, err := p.first.issue(ServingAuthority(namespace).Certificates[0], noon, StaticCALifetime)
	if err != nil {
		t.Fatal(err)
	}
	both := string(pki.Encode(p.first.cert, p.second.cert))
	headers := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.second.cert.Raw,
		Headers: map[string]string{"Made-By": "hand"}})
	for name, test := range map[string]struct {
		caBundle []byte
		want     string
	}{
		"two CAs":                 {[]byte(both), both},
		"each twice":              {[]byte(both + both), both},
		"text between":            {[]byte("# old\n" + both + "# end"), both},
		"a certificate of no CA":  {append(pki.Encode(leaf.cert), both...), both},
		"headers":                 {append(headers, both...), both},
		"nothing, as before":      {nil, both},
		"no PEM, as before":       {[]byte("not PEM"), both},
		"only a leaf, as before":  {pki.Encode(leaf.cert), both},
		"one CA less than before": {pki.Encode(p.second.cert), string(pki.Encode(p.second.cert))},
	} {
		t.Run(name, func(t *testing.T) {
			p.T = t
			p.setBundle([]byte(both))
			p.reconcile("shop")
			p.reconcile("")
			p.setBundle(test.caBundle)
			p.reconcile("shop")
			p.reconcile("")
			if got := p.configMap("shop"); !maps.Equal(got, map[string]string{"ca.crt": test.want}) {
				t.Errorf("the ConfigMap holds %q", got)
			}
			if got := p.trustBundle(); got != test.want {
				t.Errorf("the ClusterTrustBundle holds %q", got)
			}
		})
	}
	p = newPublishing(t)
	p.setBundle(nil)
	p.reconcile("shop")
	p.reconcile("")
	if p.configMap("shop") != nil || p.trustBundle() != "" {
		t.Error("something is published without a CA")
	}
}

func TestPublishedWhere(t *testing.T) {
	ended := metav1.Now()
	ending := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ending", DeletionTimestamp: &ended,
		Finalizers: []string{"kubernetes"}, Labels: map[string]string{namespaceLabel: "allowed"}}}
	immutable := named("shop", map[string]string{"ca.crt": "old"}, true)
	immutable.Immutable = new(true)
	mine := map[string]string{"ca.crt": "mine"}
	edited := named("shop", map[string]string{"ca.crt": "x", "y": "z"}, true)
	for name, test := range map[string]struct {
		before    *corev1.ConfigMap
		namespace string
		want      string // of the ConfigMap: nothing, mine, or the bundle
		without   float64
	}{
		"with the label":                  {nil, "shop", "bundle", 0},
		"edited":                          {edited, "shop", "bundle", 0},
		"immutable":                       {immutable, "shop", "bundle", 0},
		"of somebody else":                {named("shop", mine, false), "shop", "mine", 1},
		"without the label":               {nil, "other", "", 0},
		"not any more":                    {named("other", mine, true), "other", "", 0},
		"of somebody else, without label": {named("other", mine, false), "other", "mine", 0},
		"a namespace that ends":           {nil, "ending", "", 0},
		"a namespace that is gone":        {nil, "gone", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []client.Object{ending.DeepCopy()}
			if test.before != nil {
				objects = append(objects, test.before.DeepCopy())
			}
			p := newPublishing(t, objects...)
			for range 2 { // a deletion comes back as an event
				p.reconcile(test.namespace)
			}
			want := map[string]map[string]string{
				"mine": mine, "bundle": {"ca.crt": string(pki.Encode(p.first.cert, p.second.cert))},
			}[test.want]
			if got := p.configMap(test.namespace); !maps.Equal(got, want) {
				t.Errorf("the ConfigMap holds %q", got)
			}
			if got := testutil.ToFloat64(namespacesWithout); got != test.without {
				t.Errorf("%f namespaces count as unpublished", got)
			}
		})
	}
}

// TestPausedPublisher pauses a deposed leader after its first read, until another one has published a new bundle.
func TestPausedPublisher(t *testing.T) {
	for _, at := range []string{"shop", ""} {
		t.Run("namespace "+at, func(t *testing.T) {
			p := newPublishing(t)
			p.setBundle(pki.Encode(p.first.cert))
			p.reconcile(at)
			p.setBundle(pki.Encode(p.second.cert))
			deposed := *p.Publisher
			deposed.Reader = &pausing{Reader: p.Client, meanwhile: func() {
				p.setBundle(pki.Encode(p.first.cert, p.second.cert))
				p.reconcile(at)
			}}
			request := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: at}}
			_, err := deposed.Reconcile(klog.NewContext(t.Context(), logr.Discard()), request)
			if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
				t.Fatal(err)
			}
			both := string(pki.Encode(p.first.cert, p.second.cert))
			if p.configMap("shop")["ca.crt"] != both && p.trustBundle() != both {
				t.Error("an old bundle is published")
			}
		})
	}
}
