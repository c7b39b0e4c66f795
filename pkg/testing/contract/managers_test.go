// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/scheme"
)

// managers: metadata.managedFields has at most 100 entries and 128 KiB, by whatever request it would grow.
func (a *api) managers(t *testing.T) {
	const namespace, name = "managers", "one"
	a.create(t, namespace, name, nil)
	one := path(namespace, name)
	apply := func(manager int) (int, []byte) {
		body := text(t, map[string]any{
			"apiVersion": "secret.grafana.app/v1beta1", "kind": "SecureValue",
			"metadata": map[string]any{"name": name, "labels": map[string]any{"app": "shop"}},
		})
		got := a.do(t, http.MethodPatch, fmt.Sprintf("%s?fieldManager=manager-%d", one, manager), applyType, body)
		return got.Code, got.Body
	}
	refused := 0
	for refused <= 110 {
		code, body := apply(refused)
		if code != http.StatusOK {
			wantManagersRefused(t, "server-side apply", code, body)
			break
		}
		refused++
	}
	if refused != 99 { // the creator is a manager too
		t.Errorf("server-side apply: %d managers were taken", refused)
	}

	for name, entries := range map[string][]any{"too many": many(101), "too large": {entry("one", 129<<10)}} {
		a.ownManagedFields(t, one, name, entries)
	}
	a.want(t, http.StatusOK, http.MethodPatch, one, mergeType,
		text(t, map[string]any{"metadata": map[string]any{"managedFields": []any{map[string]any{}}}}))
	if code, body := apply(refused); code != http.StatusOK {
		t.Errorf("after the entries were dropped: %d %s", code, body)
	}
}

// ownManagedFields sends entries by each kind of request that may hold some.
func (a *api) ownManagedFields(t *testing.T, one, name string, entries []any) {
	t.Helper()
	replaced := a.want(t, http.StatusOK, http.MethodGet, one, "", "").Object(t)
	set(replaced, []string{"metadata", "managedFields"}, entries)
	body := text(t, replaced)
	var typed v1beta1.SecureValue
	if err := json.Unmarshal([]byte(body), &typed); err != nil {
		t.Fatal(err)
	}
	var wire bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(&typed, &wire); err != nil {
		t.Fatal(err)
	}
	patch := text(t, map[string]any{"metadata": map[string]any{"managedFields": entries}})
	operations := text(t, []any{map[string]any{"op": "replace", "path": "/metadata/managedFields", "value": entries}})
	for _, request := range []struct{ method, contentType, body string }{
		{http.MethodPut, jsonType, body},
		{http.MethodPut, protoType, wire.String()},
		{http.MethodPatch, mergeType, patch},
		{http.MethodPatch, stratType, patch},
		{http.MethodPatch, patchType, operations},
	} {
		got := a.do(t, request.method, one, request.contentType, request.body)
		wantManagersRefused(t, name+" "+request.method+" "+request.contentType, got.Code, got.Body)
	}
}

func wantManagersRefused(t *testing.T, name string, code int, body []byte) {
	t.Helper()
	if code != http.StatusBadRequest || !bytes.Contains(body, []byte(validation.ErrManagedFields.Error())) {
		t.Errorf("%s: want 400 and %q, got %d: %s", name, validation.ErrManagedFields, code, body)
	}
}

func many(n int) []any {
	entries := make([]any, 0, n)
	for i := range n {
		entries = append(entries, entry(fmt.Sprintf("manager-%d", i), 1))
	}
	return entries
}

// entry is of a manager of updates, which upstream would merge, that owns labels whose keys are so many bytes together.
func entry(manager string, size int) map[string]any {
	labels := map[string]any{}
	for i := 0; i < size; i += 200 {
		labels[fmt.Sprintf("f:%0*d", min(size, 200), i)] = map[string]any{}
	}
	return map[string]any{
		"manager": manager, "operation": "Update", "apiVersion": "secret.grafana.app/v1beta1", "fieldsType": "FieldsV1",
		"fieldsV1": map[string]any{"f:metadata": map[string]any{"f:labels": labels}},
	}
}
