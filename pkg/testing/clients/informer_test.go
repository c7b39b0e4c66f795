// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	secretv1beta1 "github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/informers/externalversions"
)

// testInformer follows one object through the generated informer and lister.
func testInformer(t *testing.T, s *suite) {
	t.Helper()
	for _, contentType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		t.Run(contentType, func(t *testing.T) { testInformerOf(t, s, contentType) })
	}
}

func testInformerOf(t *testing.T, s *suite, contentType string) {
	t.Helper()
	clients, namespace := s.clientset(t, "", contentType), s.person(t).namespace
	factory := externalversions.NewSharedInformerFactoryWithOptions(clients, 0,
		externalversions.WithNamespace(namespace))
	informer := factory.Secret().V1beta1().SecureValues()
	seen := make(chan string, 10)
	note := func(what string, object any) {
		sv := object.(*secretv1beta1.SecureValue)
		if sv.Spec.Value != nil {
			t.Errorf("%s: the informer saw a value", what)
		}
		s.clean(t, "the informer", fmt.Sprintf("%+v", sv))
		seen <- fmt.Sprintf("%s %s version %d", what, sv.Name, sv.Status.Version)
	}
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { note("add", object) },
		UpdateFunc: func(_, object any) { note("update", object) },
		DeleteFunc: func(object any) { note("delete", object) },
	})
	if err != nil {
		t.Fatal(err)
	}
	values := clients.SecretV1beta1().SecureValues(namespace)
	if _, err := values.Create(t.Context(), newObject(s, "before"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	factory.Start(stop)
	defer func() { close(stop); factory.Shutdown() }()
	factory.WaitForCacheSync(t.Context().Done())
	got := []string{next(t, seen)}

	sv, err := values.Create(t.Context(), newObject(s, "x"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, next(t, seen))
	sv.Spec.Value = sensitive.New(s.secret())
	if _, err = values.Update(t.Context(), sv, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	got = append(got, next(t, seen))
	cached, err := informer.Lister().SecureValues(namespace).Get("x")
	if err != nil || cached.Status.Version != 2 || cached.Spec.Value != nil {
		t.Errorf("lister: %+v (%v)", cached, err)
	}
	if all, err := informer.Lister().List(labels.Everything()); err != nil || len(all) != 2 {
		t.Errorf("lister: %d objects (%v)", len(all), err)
	}
	if err = values.Delete(t.Context(), "x", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	got = append(got, next(t, seen))
	want := []string{"add before version 1", "add x version 1", "update x version 2", "delete x version 2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
