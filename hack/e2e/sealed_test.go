// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	restclient "k8s.io/client-go/rest"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestSealedValues seals as somebody without rights, writes as an editor of the namespace, and opens on each replica.
// The value is in no file of the run, kube-apiserver's audit log at RequestResponse among them.
func TestSealedValues(t *testing.T) {
	namespace, value := newNamespace(t), harness.Canary()
	as := func(token string) *versioned.Clientset {
		config := restclient.AnonymousClientConfig(cluster.AdminConfig())
		config.BearerToken = token
		return versioned.NewForConfigOrDie(config)
	}
	found, err := as(newServiceAccount(t, namespace, "nobody")).SecretV1beta1().SealingKeys().
		List(t.Context(), metav1.ListOptions{})
	if err != nil || len(found.Items) == 0 {
		t.Fatalf("%d sealing keys, %v", len(found.Items), err)
	}
	public, err := sealing.ParsePublicKey(found.Items[0].Spec.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	decrypters := []string{"k6-cloud"}
	text, err := public.Seal([]byte(value), sealing.Binding{Namespace: namespace, Name: "sealed", Decrypters: decrypters})
	if err != nil {
		t.Fatal(err)
	}
	editor := as(newServiceAccount(t, namespace, "editor")).SecretV1beta1().SecureValues(namespace)
	bind(t, namespace, "editor", "ClusterRole", "edit")
	eventually(t, "an editor seals the text again", func(ctx context.Context) error {
		answer, err := editor.CreateReseal(ctx, "sealed", &v1beta1.SecureValueReseal{
			Spec: v1beta1.SecureValueResealSpec{SealedValue: text, Decrypters: decrypters},
		}, metav1.CreateOptions{})
		if err == nil {
			text = answer.Status.SealedValue
		}
		return err
	})
	object := &v1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Name: "sealed"},
		Spec:       v1beta1.SecureValueSpec{Description: "sealed", SealedValue: text, Decrypters: decrypters},
	}
	if _, err := editor.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	service := decryptToken(t, namespace, "service")
	bind(t, namespace, "service", "ClusterRole", k6Role)
	for _, replica := range server.Replicas {
		eventually(t, "the service gets the value", func(context.Context) error {
			got, err := decrypt(t, replica, namespace, "sealed", service, nil, nil)
			if err != nil || got.code != http.StatusOK || got.body != value {
				return fmt.Errorf("%d, %w", got.code, err)
			}
			return nil
		})
	}
	audited := false
	searchFiles(t, filepath.Dir(server.Dir), func(name string, data []byte) {
		audited = audited || name == "cluster/kube-audit.log" && strings.Contains(string(data), namespace+"/securevalues/sealed/reseal")
		for _, leaked := range harness.Find(data, value) {
			t.Errorf("%s holds %s", name, leaked)
		}
	})
	if !audited {
		t.Error("kube-apiserver's audit log does not have the request: the search proves nothing")
	}
}
