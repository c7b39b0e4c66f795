// SPDX-License-Identifier: Apache-2.0

// Package schema holds the definitions of this API's types as a Swagger 2.0 document, for the generators of hack/. It
// takes them from the generated OpenAPI code, as the server does, and must never add to them.
package schema

import (
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/securevalue/secret-apiserver/pkg/generated/openapi"
)

// Document returns the definitions of all types that the server knows, by the names that they have in its OpenAPI
// documents.
func Document() *spec.Swagger {
	reference := func(name string) spec.Ref { return spec.MustCreateRef("#/definitions/" + name) }
	definitions := spec.Definitions{}
	for name, definition := range openapi.GetOpenAPIDefinitions(reference) {
		definitions[name] = definition.Schema
		if v2, ok := definition.Schema.Extensions[common.ExtensionV2Schema].(spec.Schema); ok {
			definitions[name] = v2 // int-or-string has no other form in Swagger 2.0
		}
	}
	return &spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger:     "2.0",
		Info:        &spec.Info{InfoProps: spec.InfoProps{Title: "secret.grafana.app", Version: "v1beta1"}},
		Definitions: definitions,
	}}
}
