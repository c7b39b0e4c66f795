// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/securevalue/secret-apiserver/hack/internal/schema"
)

// Every type of the group and every field of it is on the page.
func TestRenderLeavesNothingOut(t *testing.T) {
	definitions := schema.Document().Definitions
	page, err := render(definitions)
	if err != nil {
		t.Fatal(err)
	}
	types := 0
	for name, definition := range definitions {
		short, ours := strings.CutPrefix(name, group)
		if !ours {
			continue
		}
		types++
		_, section, found := strings.Cut(page, "\n## "+short+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		if !found {
			t.Errorf("no section for %s", short)
		}
		for field := range definition.Properties {
			if !strings.Contains(section, "\n| `"+field+"` | ") {
				t.Errorf("no row for %s of %s", field, short)
			}
		}
	}
	if types < 6 {
		t.Errorf("the document has %d types of the group, want at least 6", types)
	}
}

func TestRender(t *testing.T) {
	text := spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"string"}, Description: "a|b\nc"}}
	other := spec.Schema{SchemaProps: spec.SchemaProps{AllOf: []spec.Schema{*spec.RefSchema("#/definitions/" + group + "Other")}}}
	definitions := spec.Definitions{group + "Thing": {SchemaProps: spec.SchemaProps{
		Description: "Thing is one.", Required: []string{"a"},
		Properties: map[string]spec.Schema{"a": text, "b": other, "c": *spec.ArrayProperty(&text), "d": *spec.Int64Property()},
	}}}
	page, err := render(definitions)
	if err != nil {
		t.Fatal(err)
	}
	want := "\n## Thing\n\nThing is one.\n\n| field | type | required | |\n|---|---|---|---|\n" +
		"| `a` | string | yes | a\\|b c |\n| `b` | [Other](#other) |  |  |\n| `c` | list of string |  |  |\n| `d` | integer (int64) |  |  |\n"
	if diff := cmp.Diff(head+want, page); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

func TestRenderRefusesWhatItDoesNotKnow(t *testing.T) {
	for name, field := range map[string]spec.Schema{
		"a type of another project": *spec.RefSchema("#/definitions/io.k8s.Unknown"),
		"a map":                     *spec.MapProperty(spec.StringProperty()),
		"no type":                   {},
	} {
		t.Run(name, func(t *testing.T) {
			definition := spec.Schema{SchemaProps: spec.SchemaProps{Properties: map[string]spec.Schema{"f": field}}}
			if page, err := render(spec.Definitions{group + "Thing": definition}); err == nil {
				t.Errorf("rendered as\n%s", page)
			}
		})
	}
}
