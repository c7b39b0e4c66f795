// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"
)

// group starts the names of this API's definitions.
const group = "app.grafana.secret.v1beta1."

// upstream is where types of other projects are documented.
var upstream = map[string]string{
	"io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": "https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/",
	"io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta":   "https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/list-meta/",
	"io.k8s.apimachinery.pkg.apis.meta.v1.Time":       "https://kubernetes.io/docs/reference/using-api/api-concepts/",
}

const head = `# API reference

Every type of ` + "`secret.grafana.app/v1beta1`" + ` with its fields. Made by ` + "`hack/update-reference.sh`" + ` from the definitions that the server
serves under ` + "`/openapi/v3`" + `; do not edit. ` + "`kubectl explain securevalue.spec`" + ` says the same. What the server does with the
fields is in [api.md](api.md).
`

// render returns the page. It fails on a type that it would have to leave out or that it does not know.
func render(definitions spec.Definitions) (string, error) {
	var page strings.Builder
	page.WriteString(head)
	for _, name := range slices.Sorted(maps.Keys(definitions)) {
		short, ours := strings.CutPrefix(name, group)
		if !ours {
			continue
		}
		definition := definitions[name]
		fmt.Fprintf(&page, "\n## %s\n\n%s\n", short, cell(definition.Description))
		if err := fields(&page, definition); err != nil {
			return "", fmt.Errorf("%s: %w", short, err)
		}
	}
	return page.String(), nil
}

func fields(page *strings.Builder, definition spec.Schema) error {
	page.WriteString("\n| field | type | required | |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(definition.Properties)) {
		field := definition.Properties[name]
		kind, err := typeOf(field)
		if err != nil {
			return fmt.Errorf("field %s: %w", name, err)
		}
		required := ""
		if slices.Contains(definition.Required, name) {
			required = "yes"
		}
		fmt.Fprintf(page, "| `%s` | %s | %s | %s |\n", name, kind, required, cell(field.Description))
	}
	return nil
}

// typeOf returns the type of a field as Markdown.
func typeOf(field spec.Schema) (string, error) {
	if target, ok := strings.CutPrefix(reference(field), "#/definitions/"); ok {
		if short, ours := strings.CutPrefix(target, group); ours {
			return fmt.Sprintf("[%s](#%s)", short, strings.ToLower(short)), nil
		}
		address, ok := upstream[target]
		if !ok {
			return "", fmt.Errorf("no documentation URL for type %s: add one to upstream in hack/api-reference/render.go", target)
		}
		return fmt.Sprintf("[%s](%s)", target[strings.LastIndex(target, ".")+1:], address), nil
	}
	if field.Type.Contains("array") && field.Items != nil && field.Items.Schema != nil {
		items, err := typeOf(*field.Items.Schema)
		return "list of " + items, err
	}
	if len(field.Type) != 1 || field.Type[0] == "object" {
		return "", fmt.Errorf("the type %v is not known: teach typeOf in hack/api-reference/render.go", field.Type)
	}
	if field.Format != "" {
		return fmt.Sprintf("%s (%s)", field.Type[0], field.Format), nil
	}
	return field.Type[0], nil
}

// reference returns the target of $ref. Beside a description or a default it stands in an allOf of one.
func reference(field spec.Schema) string {
	if len(field.AllOf) == 1 {
		return field.AllOf[0].Ref.String()
	}
	return field.Ref.String()
}

// cell makes text fit a cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
