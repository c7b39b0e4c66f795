// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"bytes"
	"errors"
	"io"
	"testing"

	yaml "sigs.k8s.io/yaml/goyaml.v2"
)

// FuzzLoad loads arbitrary files. The loader must neither panic nor overlook a document: the YAML library reads the
// first document of its input only, so what split returns as one document must be one for the library too.
func FuzzLoad(f *testing.F) {
	for _, text := range []string{
		"", "---\n", goodRole, policy, grants("get"), "--- # x\na: b\n...\nc: d\n", "a: |\n  ---\n  b\n",
		"%YAML 1.1\n---\na: b\n",
		"\ufeff---\na: b\n", "a: b\r\n---\r\nc: d\r\n", "a: b\r---\rc: d", "a: &x b\nc: *x\n", "'a\n---\nb'",
		`{"apiVersion":"v1","kind":"List","items":[null,{}]}`, head +
			"kind: RoleList\nitems: [{metadata: {name: a, namespace: b}}]",
		head + "kind: ClusterRole\nmetadata: {name: a}\naggregationRule: {clusterRoleSelectors: [{matchLabels: {a: " +
			"b}}]}\n",
	} {
		f.Add([]byte(text), false)
		f.Add([]byte(text), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, isJSON bool) {
		name := "a.yaml"
		if isJSON {
			name = "a.json"
		}
		snapshot, err := parse([]file{{path: name, data: data}})
		if (err == nil) != (snapshot != nil) {
			t.Fatalf("got %v and %v", snapshot, err)
		}
		if err == nil && !isJSON {
			wantOneDocumentEach(t, data)
		}
	})
}

func wantOneDocumentEach(t *testing.T, data []byte) {
	t.Helper()
	docs, err := split(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range docs {
		decoder := yaml.NewDecoder(bytes.NewReader(doc.data))
		var first, second any
		if err := decoder.Decode(&first); err != nil {
			continue // nothing but comments
		}
		if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
			t.Errorf("document %d hides another document: %v, %v", doc.number, second, err)
		}
	}
}
