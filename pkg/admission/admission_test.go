// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

const canary = "canary-value-of-an-object"

// newChain returns the chain over a cluster that holds objects.
func newChain(t *testing.T, objects ...runtime.Object) (admission.Interface, *fake.Clientset) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	client := fake.NewClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	chain, err := New(Config{Client: client, Informers: factory, Drained: ctx.Done()})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
	})
	return chain, client
}

func newNamespace(name string, phase corev1.NamespacePhase) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NamespaceStatus{Phase: phase}}
}

// newQuota is a quota as the quota controller leaves it.
func newQuota(namespace string, name corev1.ResourceName, hard, used string) *corev1.ResourceQuota {
	limit := corev1.ResourceList{name: resource.MustParse(hard)}
	return &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "quota"},
		Spec:       corev1.ResourceQuotaSpec{Hard: limit},
		Status:     corev1.ResourceQuotaStatus{Hard: limit, Used: corev1.ResourceList{name: resource.MustParse(used)}},
	}
}

// do runs both steps for a value, as the registry does.
func do(t *testing.T, chain admission.Interface, operation admission.Operation, namespace, name, subresource string, dryRun bool) error {
	t.Helper()
	object := &secret.SecureValue{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: secret.SecureValueSpec{Value: sensitive.New(canary)}}
	var old runtime.Object
	if operation != admission.Create {
		old = object.DeepCopy()
	}
	attributes := admission.NewAttributesRecord(object, old, v1beta1.SchemeGroupVersion.WithKind("SecureValue"), namespace, name,
		v1beta1.SchemeGroupVersion.WithResource(secret.Resource), subresource, operation, nil, dryRun, &user.DefaultInfo{Name: "ann"})
	if err := chain.(admission.MutationInterface).Admit(t.Context(), attributes, nil); err != nil {
		return err
	}
	return chain.(admission.ValidationInterface).Validate(t.Context(), attributes, nil)
}

// wantCode wants an answer that quotes no value; 0 is none.
func wantCode(t *testing.T, err error, code int32, text string) {
	t.Helper()
	if code == 0 {
		if err != nil {
			t.Errorf("want no error, got %v", err)
		}
		return
	}
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Code != code || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %d with %q", err, code, text)
	}
	if strings.Contains(fmt.Sprintf("%v %+v", err, err), canary) {
		t.Errorf("the value is in %v", err)
	}
}

func TestNamespaceLifecycle(t *testing.T) {
	t.Parallel()
	chain, _ := newChain(t, newNamespace("ns", corev1.NamespaceActive), newNamespace("going", corev1.NamespaceTerminating))
	for _, test := range []struct {
		operation admission.Operation
		namespace string
		code      int32
		text      string
	}{
		{admission.Create, "ns", 0, ""},
		{admission.Create, "none", http.StatusNotFound, `namespaces "none" not found`},
		{admission.Create, "going", http.StatusForbidden, "because it is being terminated"},
		{admission.Update, "going", 0, ""},
		{admission.Delete, "going", 0, ""},
		{admission.Delete, "none", 0, ""},
	} {
		t.Run(string(test.operation)+" in "+test.namespace, func(t *testing.T) {
			wantCode(t, do(t, chain, test.operation, test.namespace, "one", "", false), test.code, test.text)
		})
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	const ours = "count/securevalues.secret.grafana.app"
	for name, test := range map[string]struct {
		quota       *corev1.ResourceQuota
		operation   admission.Operation
		subresource string
		dryRun      bool
		code        int32
		text        string
		used        string
	}{
		"room":                        {quota: newQuota("ns", ours, "2", "1"), operation: admission.Create, used: "2"},
		"full":                        {quota: newQuota("ns", ours, "2", "2"), operation: admission.Create, code: http.StatusForbidden, text: "exceeded quota: quota", used: "2"},
		"full, update":                {quota: newQuota("ns", ours, "2", "2"), operation: admission.Update, used: "2"},
		"full, delete":                {quota: newQuota("ns", ours, "2", "2"), operation: admission.Delete, used: "2"},
		"full, subresource":           {quota: newQuota("ns", ours, "2", "2"), operation: admission.Create, subresource: "rewrap", used: "2"},
		"full, dry run":               {quota: newQuota("ns", ours, "2", "2"), operation: admission.Create, dryRun: true, code: http.StatusForbidden, text: "exceeded quota", used: "2"},
		"room, dry run":               {quota: newQuota("ns", ours, "2", "1"), operation: admission.Create, dryRun: true, used: "1"},
		"none at all":                 {quota: newQuota("ns", ours, "0", "0"), operation: admission.Create, code: http.StatusForbidden, text: "exceeded quota", used: "0"},
		"of another resource":         {quota: newQuota("ns", "count/secrets", "0", "0"), operation: admission.Create},
		"of another namespace":        {quota: newQuota("other", ours, "0", "0"), operation: admission.Create, used: "0"},
		"of a group of the same name": {quota: newQuota("ns", "count/securevalues.secret.example", "0", "0"), operation: admission.Create},
	} {
		t.Run(name, func(t *testing.T) {
			chain, client := newChain(t, newNamespace("ns", corev1.NamespaceActive), test.quota)
			wantCode(t, do(t, chain, test.operation, "ns", "one", test.subresource, test.dryRun), test.code, test.text)
			quota, err := client.CoreV1().ResourceQuotas(test.quota.Namespace).Get(t.Context(), "quota", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if used := quota.Status.Used[ours]; test.used != "" && used.String() != test.used {
				t.Errorf("used is %s, want %s", used.String(), test.used)
			}
		})
	}
}
