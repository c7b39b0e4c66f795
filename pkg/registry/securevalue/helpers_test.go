// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/storage/names"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/install"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

const canary = "CANARY-b6d109fe"

// as returns the context of a request in namespace default by a user; "" is nobody.
func as(t *testing.T, name string) context.Context {
	t.Helper()
	ctx := request.WithNamespace(t.Context(), "default")
	if name == "" {
		return ctx
	}
	return request.WithUser(ctx, &user.DefaultInfo{Name: name})
}

func testScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return scheme
}

func testStrategy() strategy {
	return strategy{
		ObjectTyper: testScheme(), NameGenerator: names.SimpleNameGenerator,
		validator: validation.New([]string{"k6-cloud", "synthetic-monitoring"}),
	}
}

// requested is what a client sends.
func requested() *secret.SecureValue {
	return &secret.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Name: "api-key", Namespace: "default"},
		Spec: secret.SecureValueSpec{
			Description: "External API Key", Value: sensitive.New(canary), Decrypters: []string{"k6-cloud"},
		},
	}
}

// stored is what the strategy sees of an object in the store.
func stored() *secret.SecureValue {
	sv := requested()
	sv.Spec.Value = nil
	sv.UID, sv.ResourceVersion, sv.Generation = "uid-1", "7", 3
	sv.Status = secret.SecureValueStatus{Version: 2, Keeper: secret.KeeperSystem, Key: "aesgcm/k1"}
	sv.Annotations = map[string]string{
		secret.AnnotationCreatedBy: "alice", secret.AnnotationUpdatedBy: "bob",
		secret.AnnotationUpdatedTimestamp: "2024-01-15T10:35:00Z",
	}
	return sv
}

// wantNoCanary looks at an error as a client, an audit record and a log see it.
func wantNoCanary(t *testing.T, err error) {
	t.Helper()
	text := fmt.Sprintf("%v\n%+v\n%#v", err, err, err)
	if data, jsonErr := json.Marshal(err); jsonErr == nil {
		text += string(data)
	}
	if strings.Contains(text, canary) {
		t.Errorf("the error holds the value: %s", text)
	}
}
