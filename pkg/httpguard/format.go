// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"mime"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// bodyFormat is the set of checks that a body gets.
type bodyFormat int

const (
	// formatUnchecked is a body that only the size limit concerns.
	formatUnchecked bodyFormat = iota
	// formatJSON is an object in JSON.
	formatJSON
	// formatJSONPatch is an array of operations in JSON.
	formatJSONPatch
	// formatYAML is an object in YAML.
	formatYAML
)

// formatOf reads the media type exactly as the handler behind it will: the two handlers do it differently, and any
// difference from them would be a way around the guard.
func formatOf(r *http.Request) bodyFormat {
	switch r.Method {
	case http.MethodPatch:
		return patchFormat(patchTypeOf(r))
	case http.MethodPost, http.MethodPut, http.MethodDelete:
		// DeleteOptions come through the same negotiation, and a decoder of the library's own whose errors quote.
		return objectFormat(r.Header.Get("Content-Type"))
	}
	return formatUnchecked
}

// patchTypeOf follows handlers.PatchResource.
func patchTypeOf(r *http.Request) types.PatchType {
	contentType := r.Header.Get("Content-Type")
	if i := strings.Index(contentType, ";"); i > 0 {
		contentType = contentType[:i]
	}
	return types.PatchType(contentType)
}

func patchFormat(patchType types.PatchType) bodyFormat {
	switch patchType {
	case types.MergePatchType, types.StrategicMergePatchType:
		return formatJSON
	case types.JSONPatchType:
		return formatJSONPatch
	case types.ApplyYAMLPatchType:
		return formatYAML
	default:
		return formatUnchecked // CBOR, and what the handlers answer with 415
	}
}

// objectFormat follows negotiation.NegotiateInputSerializer, with JSON as the first serializer.
func objectFormat(contentType string) bodyFormat {
	if contentType == "" {
		return formatJSON
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return formatUnchecked
	}
	switch mediaType {
	case runtime.ContentTypeJSON:
		return formatJSON
	case runtime.ContentTypeYAML:
		return formatYAML
	}
	return formatUnchecked
}
