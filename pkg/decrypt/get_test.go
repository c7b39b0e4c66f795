// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// FuzzBody compares what the body of a GET says with what encoding/json reads, and asks for one allocation.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{"", "a", `"\`, "\x00\x1f\x7f", "ü\u2028😀", "</script>", "line\nline\r\t"} {
		f.Add(seed, "a description")
	}
	f.Fuzz(func(t *testing.T, value, description string) {
		if !utf8.ValidString(value) || !utf8.ValidString(description) {
			return // neither is ever stored
		}
		object := &secret.SecureValue{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: "stacks-42", Labels: map[string]string{"b": "2", "a": "1"}}}
		object.Spec.Description = description
		raw := jsonBody(&Result{Object: object, Value: sensitive.Value(value)})
		var got struct {
			body
			Plaintext *string `json:"plaintext"`
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if got.Plaintext == nil || *got.Plaintext != value || got.Description != description {
			t.Errorf("%q became %q", value, raw)
		}
		if got.StackID != 42 || got.OrgID != 0 || got.Labels[0] != (label{"a", "1"}) {
			t.Errorf("%+v", got.body)
		}
	})
}

func FuzzSplitGetPath(f *testing.F) {
	for _, seed := range []string{"/decrypt/v1/namespaces/a/secrets/b/decrypt", "/decrypt/v1/namespaces//secrets//decrypt", "/decrypt/v1/namespaces/secrets/decrypt", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		namespace, name, ok := splitGetPath(path)
		if ok && getPrefix+namespace+getMiddle+name+getSuffix != path {
			t.Errorf("%q was taken apart into %q and %q", path, namespace, name)
		}
	})
}
