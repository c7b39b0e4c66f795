// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	kyaml "sigs.k8s.io/yaml"
)

const head = "apiVersion: secret.grafana.app/v1beta1\nkind: SecureValue\n"

// replaceAll replaces each value by TEXT, and adds a namespace to manifests without one.
func replaceAll(m *manifest) error {
	_, spec := fieldOf(m.node, "spec")
	_, metadata := fieldOf(m.node, "metadata")
	if m.Spec.Value == nil {
		return nil
	}
	if m.Metadata.Namespace == "" {
		if err := m.text.insertAfter(metadata, "name", "namespace", "added"); err != nil {
			return err
		}
	}
	return m.text.replace(spec, "value", "sealedValue", "TEXT")
}

// TestEdit: the value goes, with every style that YAML has for it, and nothing else changes.
func TestEdit(t *testing.T) {
	for what, c := range map[string]struct{ before, after string }{
		"plain": {
			head + "metadata:\n  name: a\n  namespace: ns\nspec:\n  value: s3cr3t\n  decrypters: [b]\n",
			head + "metadata:\n  name: a\n  namespace: ns\nspec:\n  sealedValue: TEXT\n  decrypters: [b]\n"},
		"comments and order": {
			"# top\n" + head + "# m\nmetadata: # m1\n  # n\n  name: a # n1\nspec:\n  # v\n" +
				"  value:   's3''cr3t'   # v1\n" +
				"  # d\n  decrypters:\n    - b # b1\n# end\n",
			"# top\n" + head + "# m\nmetadata: # m1\n  # n\n  name: a # n1\n  namespace: added\nspec:\n  # v\n" +
				"  sealedValue:   TEXT   # v1\n  # d\n  decrypters:\n    - b # b1\n# end\n"},
		"double quotes": {
			head + "metadata: {name: a}\nspec: {value: \"s3\\\"}, cr3t\\n\", description: x}\n",
			head + "metadata: {name: a, namespace: added}\nspec: {sealedValue: TEXT, description: x}\n"},
		"several lines in quotes": {
			head + "metadata: {name: a}\nspec:\n  value: \"s3\n\n    cr3t\"\n  description: x\n",
			head + "metadata: {name: a, namespace: added}\nspec:\n  sealedValue: TEXT\n  description: x\n"},
		"block": {
			head + "metadata:\n  name: a\nspec:\n  value: |\n    s3cr3t\n    # not a comment\n\n    more: 1\n" +
				"  description: x\n",
			head + "metadata:\n  name: a\n  namespace: added\nspec:\n  sealedValue: TEXT\n  description: x\n"},
		"block at the end": {
			head + "metadata:\n  name: a\nspec:\n  description: x\n  value: |+2 # why\n      s3cr3t\n    more\n\n",
			head + "metadata:\n  name: a\n  namespace: added\nspec:\n  description: x\n  sealedValue: TEXT # why\n\n"},
		"folded, without a newline at the end": {
			head + "metadata:\n  name: a\nspec:\n  value: >-\n   s3cr3t\n   more\n# comment\n---\nkind: Other",
			head + "metadata:\n  name: a\n  namespace: added\nspec:\n  sealedValue: TEXT\n# comment\n---\nkind: Other"},
		"value on the next line": {
			head + "metadata:\n  name: a\nspec:\n  value:\n    # comment\n    s3cr3t\n",
			head + "metadata:\n  name: a\n  namespace: added\nspec:\n  sealedValue:\n    # comment\n    TEXT\n"},
		"JSON": {
			`{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue","metadata":{"name":"a"},` + "\n" +
				`"spec":{"value":"s3\u00e9","description":"x"}}`,
			`{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue",` +
				`"metadata":{"name":"a", "namespace": "added"},` +
				"\n" + `"spec":{"sealedValue":"TEXT","description":"x"}}`},
		"list": {
			"kind: List\napiVersion: v1\nitems:\n- kind: Other\n  spec: {value: kept}\n- kind: SecureValue\n" +
				"  apiVersion: secret.grafana.app/v1beta1\n  metadata:\n    name: a\n  spec:\n    value: |\n" +
				"      s3cr3t\n",
			"kind: List\napiVersion: v1\nitems:\n- kind: Other\n  spec: {value: kept}\n- kind: SecureValue\n" +
				"  apiVersion: secret.grafana.app/v1beta1\n  metadata:\n    name: a\n    namespace: added\n  spec:\n" +
				"    sealedValue: TEXT\n"},
		"other documents": {
			"# first\n---\n\n---\nkind:   Other # kept\nspec: {value:   1}\n--- # c\n" + head +
				"metadata: {name: a, namespace: ns}\nspec: {value: s3cr3t}\n---\n- {}\n",
			"# first\n---\n\n---\nkind:   Other # kept\nspec: {value:   1}\n--- # c\n" + head +
				"metadata: {name: a, namespace: ns}\nspec: {sealedValue: TEXT}\n---\n- {}\n"},
		"CRLF, beyond ASCII": {
			strings.ReplaceAll(head+"metadata:\n  name: a\n"+
				"spec: {description: 'Grüße 世界', value: s3cr3t} # é\n", "\n", "\r\n"),
			strings.ReplaceAll(head+"metadata:\n  name: a\n  namespace: added\n"+
				"spec: {description: 'Grüße 世界', sealedValue: TEXT} # é\n", "\n", "\r\n")},
		"no value": {
			head + "metadata: {name: a}\nspec: {sealedValue: x}\n", head + "metadata: {name: a}\n" +
				"spec: {sealedValue: x}\n"},
	} {
		got, err := editManifests("file", c.before, replaceAll)
		if err != nil || got != c.after {
			t.Errorf("%s: %v\n got %q\nwant %q", what, err, got, c.after)
		}
	}
}

// TestEditRefuses: what parsers read differently, or what cannot be changed for certain, is refused.
func TestEditRefuses(t *testing.T) {
	const names = head + "metadata: {name: a, namespace: ns}\n"
	for what, c := range map[string]struct{ text, want string }{
		"number":         {names + "spec: {value: 1234567890}\n", "that every YAML parser reads the same"},
		"boolean of 1.1": {names + "spec: {value: yes}\n", "that every YAML parser reads the same"},
		"binary":         {names + "spec: {value: !!binary czNjcjN0}\n", "that every YAML parser reads the same"},
		"tag":            {names + "spec: {value: !!str s3cr3t}\n", "that every YAML parser reads the same"},
		"anchor":         {names + "spec: {value: &a s3cr3t, x: *a}\n", "that every YAML parser reads the same"},
		"alias":          {names + "x: &a s3cr3t\nspec: {value: *a}\n", "that every YAML parser reads the same"},
		"merged": {names + "x: &a {value: s3cr3t}\n" +
			"spec: {<<: *a}\n", "that every YAML parser reads the same"},
		"list":             {names + "spec: {value: [s3cr3t]}\n", "that every YAML parser reads the same"},
		"another case":     {names + "spec: {Value: s3cr3t}\n", "that every YAML parser reads the same"},
		"spec is a string": {names + "spec: s3cr3t\n", "spec has the wrong type"},
		"decrypters":       {names + "spec: {value: s3cr3t, decrypters: s3cr3t}\n", "spec.decrypters has the wrong"},
		"twice":            {names + "spec:\n  value: s3cr3t\n  value: s3cr3t\n", "duplicate field at line 6"},
		"no YAML":          {names + "spec: {value: s3cr3t\n", "invalid YAML at line"},
		"template":         {names + "spec: {value: {{ .Values.s3cr3t }}}\n", "invalid YAML"},
		"comment after a block": {names + "spec:\n  value: |\n      s3cr3t\n    # comment\n  description: x\n",
			"cannot change the document in place"},
		"several lines":   {names + "spec:\n  value: s3cr3t\n    s3cr3t\n", "in double quotes on one line"},
		"second document": {"kind: A\n---\n" + names + "spec: {value: 1234567890}\n", "file: document 2: spec.value"},
		"item": {"kind: List\nitems:\n- kind: SecureValue\n  apiVersion: secret.grafana.app/v1\n" +
			"  spec: {value: 1}\n", "file: document 1, item 1: spec.value"},
		"content after ---": {"--- {kind: A}\n", "move what follows ---"},
		"anchored name":     {head + "metadata: {name: &a b, x: *a}\nspec: {value: s3cr3t}\nfoo: [\n", "invalid YAML"},
	} {
		got, err := editManifests("file", c.text, replaceAll)
		if err == nil || !strings.Contains(err.Error(), c.want) || got != "" {
			t.Errorf("%s: %v, want %q", what, err, c.want)
			continue
		}
		if strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "1234567890") {
			t.Errorf("%s: the error quotes the value: %v", what, err)
		}
	}
}

// FuzzEdit: a text that could be changed holds the value nowhere, and kubectl reads the rest of it as before.
func FuzzEdit(f *testing.F) {
	for _, value := range []string{"s3cr3t", "'s3''cr3t'", `"s3\"cr3t\n"`, "|\n    s3cr3t\n    # s3cr3t\n\n   x",
		">-\n      s3cr3t\n # s",
		"\n    s3cr3t # x", "s3cr3t\n  # comment\n  more: x", "'s3\n\n    cr3t'"} {
		f.Add(value, "  description: x\n", false)
		f.Add(value, "", true)
	}
	f.Fuzz(func(t *testing.T, value, rest string, nested bool) {
		text := head + "metadata:\n  name: a\nspec:\n  value: " + value + "\n" + rest
		if nested {
			text = "kind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
		}
		values := 0
		got, err := editManifests("file", text, func(m *manifest) error {
			if m.Spec.Value == nil {
				return errors.New("no value")
			}
			values++
			return replaceAll(m)
		})
		if err != nil || values != 1 {
			return
		}
		before, err := kyaml.YAMLToJSON([]byte(splitDocuments(text)[0]))
		if err != nil {
			t.Fatal(err)
		}
		after, err := kyaml.YAMLToJSON([]byte(splitDocuments(got)[0]))
		if err != nil {
			t.Fatalf("%q becomes %q: %v", text, got, err)
		}
		if want := replacedJSON(t, before); string(after) != want {
			t.Errorf("%q becomes %q:\n got %s\nwant %s", text, got, after, want)
		}
		if left := strings.Count(got, "s3cr3t") - strings.Count(rest, "s3cr3t"); left > strings.Count(value, "#") {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}

// replacedJSON does to an object, or to the first item of a list, what replaceAll does to its text.
func replacedJSON(t *testing.T, raw []byte) string {
	t.Helper()
	var whole map[string]any
	if err := json.Unmarshal(raw, &whole); err != nil {
		t.Fatal(err)
	}
	object := whole
	if items, ok := whole["items"].([]any); ok {
		object = items[0].(map[string]any)
	}
	spec := object["spec"].(map[string]any)
	delete(spec, "value")
	spec["sealedValue"] = "TEXT"
	object["metadata"].(map[string]any)["namespace"] = "added"
	changed, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return string(changed)
}
