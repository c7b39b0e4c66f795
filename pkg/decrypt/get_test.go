// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"bytes"
	"encoding/json"
	"net/url"
	"reflect"
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
		if got.StackID != 42 || got.OrgID != 0 || got.Labels[0] != (label{"a", "1"}) || bytes.Contains(raw, []byte("org_id")) {
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

func TestPrefersPlain(t *testing.T) {
	for header, want := range map[string]bool{
		"":                                  false,
		"*/*":                               false,
		"application/json":                  false,
		"text/plain":                        true,
		"TEXT/Plain":                        true,
		"text/plain; charset=utf-8":         true,
		"text/plain;q=0.5":                  true,
		"text/plain;Q=0.9, */*;q=0.1":       true,
		"text/*":                            true,
		"*/*, text/plain":                   true,
		"text/plain, application/json":      true,
		"application/json, text/plain":      false,
		"application/json, text/plain, */*": false,
		"text/plain;q=0.4, application/json;q=0.5": false,
		"application/json;q=0.5, text/plain;q=0.6": true,
		"text/plain;q=0":            false,
		"text/*, text/plain;q=0":    false,
		"application/json;q=0, */*": true,
		"image/png":                 false,
		"text/plainx":               false,
		"garbage, ;;, text/plain":   true,
	} {
		if got := prefersPlain([]string{header}); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
	if !prefersPlain([]string{"application/json;q=0.1", "text/plain"}) {
		t.Error("the second header does not count")
	}
}

func TestDescribe(t *testing.T) {
	created := metav1.Unix(1700000000, 0)
	for namespace, want := range map[string]body{
		"default": {OrgID: 1}, "org-7": {OrgID: 7}, "stacks-42": {StackID: 42}, "team": {}, "org-0": {}, "org-x": {},
	} {
		for updated, modified := range map[string]int64{"": 1700000000, "2023-11-14T22:13:21Z": 1700000001, "yesterday": 1700000000} {
			object := &secret.SecureValue{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, CreationTimestamp: created}}
			object.Annotations = map[string]string{secret.AnnotationUpdatedTimestamp: updated}
			want.Labels, want.CreatedAt, want.ModifiedAt = []label{}, created.Unix(), modified
			if got := describe(object); !reflect.DeepEqual(got, want) {
				t.Errorf("%s, updated %q: %+v", namespace, updated, got)
			}
		}
	}
}

func TestPlainPaths(t *testing.T) {
	for path, want := range map[string]bool{
		"/decrypt/%76%31/x": true, "/a%2Db%2e%7E": true, "/a": true, "/%41": true,
		"/a%2fb": false, "/a%2Fb%41": false, "/%00%2f": false, "/a%25%41": false, "/a%3b%41": false, "/%c3%bc%2f": false,
	} {
		u, err := url.Parse("https://host" + path)
		if err != nil {
			t.Fatal(err)
		}
		if got := hasPlainPath(u); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}
