// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metainternalversionscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// WithRequestGuard refuses writes to SecureValues whose body must not reach a decoder: too large, malformed, or with a
// spec.value that is not a string. Other bodies are passed on byte for byte; the absent body of a POST to a subresource
// becomes an empty object, which upstream's decoder requires.
//
// It needs the RequestInfo in the context and must run after authorization, so that it reveals nothing to callers that
// may not write. A maxBytes of 0 or less means no limit. Protobuf and CBOR get only the size limit; other media types
// are left to the handlers, which answer 415.
func WithRequestGuard(handler http.Handler, codecs runtime.NegotiatedSerializer, maxBytes int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := request.RequestInfoFrom(r.Context())
		if !ok {
			responsewriters.InternalError(w, r, errors.New("no RequestInfo found in the context"))
			return
		}
		gv := schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
		if info.IsResourceRequest && len(content.IsPathSegmentName(info.Namespace)) > 0 {
			// The handlers check names but not namespaces: storage would answer a 500 that quotes the key.
			responsewriters.ErrorNegotiated(refuse(textBadNamespace), codecs, gv, w, r)
			return
		}
		if !guards(info, r) {
			handler.ServeHTTP(w, r)
			return
		}
		body, err := readBody(r, maxBytes)
		if err == nil {
			err = checkBody(r, info, body)
		}
		if err == nil {
			err = checkOptions(r, body)
		}
		if err != nil {
			responsewriters.ErrorNegotiated(err, codecs, gv, w, r)
			return
		}
		if len(body) == 0 && r.Method == http.MethodPost && info.Subresource != "" {
			body = []byte("{}") // so that the body may be omitted
		}
		handler.ServeHTTP(w, withBody(r, body))
	})
}

// guards reports whether the request writes to a SecureValue and has a body.
func guards(info *request.RequestInfo, r *http.Request) bool {
	if !info.IsResourceRequest || info.APIGroup != secret.GroupName || info.Resource != secret.Resource ||
		r.Body == nil {
		return false
	}
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return true
	}
	return false
}

// readBody returns the body of a request, at most limit bytes. It reads it unless Receive has.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	b, ok := r.Body.(*body)
	if !ok {
		b = &body{ReadCloser: r.Body, promised: r.ContentLength}
	}
	if err := b.receive(CallerOf(r), limit); err != nil {
		return nil, refuseBody(err)
	}
	return b.whole, nil
}

// checkBody applies the checks of the body's format.
func checkBody(r *http.Request, info *request.RequestInfo, body []byte) error {
	format := formatOf(r)
	if format == formatUnchecked {
		return nil
	}
	if len(body) == 0 {
		if info.Subresource != "" || r.Method == http.MethodDelete {
			return nil // the body is optional
		}
		return refuse(textEmpty)
	}
	switch format {
	case formatJSON:
		return checkJSON(body)
	case formatJSONPatch:
		return checkJSONPatch(body)
	default:
		return checkYAML(body)
	}
}

// withBody returns the request with these bytes as its body.
func withBody(r *http.Request, body []byte) *http.Request {
	out := r.WithContext(r.Context())
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	out.TransferEncoding = nil
	return out
}

// bodyFormat selects the checks of a body.
type bodyFormat int

const (
	// formatUnchecked gets only the size limit.
	formatUnchecked bodyFormat = iota
	// formatJSON is an object in JSON.
	formatJSON
	// formatJSONPatch is an array of operations in JSON.
	formatJSONPatch
	// formatYAML is an object in YAML.
	formatYAML
)

// formatOf parses the media type exactly as the two handlers do, each in its own way: any difference would be a way
// around the guard.
func formatOf(r *http.Request) bodyFormat {
	switch r.Method {
	case http.MethodPatch:
		return patchFormat(patchTypeOf(r))
	case http.MethodPost, http.MethodPut, http.MethodDelete:
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

// checkOptions decodes and validates the options of a write as the handlers do, whose errors quote the request. The
// codes are those of the handlers: 400 for what cannot be decoded, 422 for an invalid value.
func checkOptions(r *http.Request, body []byte) error {
	query := r.URL.Query()
	switch r.Method {
	case http.MethodPost:
		options := &metav1.CreateOptions{}
		return firstFault("CreateOptions", fromQuery(query, options), func() field.ErrorList {
			return metav1validation.ValidateCreateOptions(options)
		})
	case http.MethodPut:
		options := &metav1.UpdateOptions{}
		return firstFault("UpdateOptions", fromQuery(query, options), func() field.ErrorList {
			return metav1validation.ValidateUpdateOptions(options)
		})
	case http.MethodPatch:
		if formatOf(r) == formatUnchecked {
			return nil // the handler answers 415 first
		}
		options := &metav1.PatchOptions{}
		return firstFault("PatchOptions", fromQuery(query, options), func() field.ErrorList {
			return metav1validation.ValidatePatchOptions(options, patchTypeOf(r))
		})
	default:
		options := &metav1.DeleteOptions{}
		err := fromQuery(query, options)
		if len(body) > 0 {
			err = fromBody(r, body, options)
		}
		return firstFault("DeleteOptions", err,
			func() field.ErrorList { return metav1validation.ValidateDeleteOptions(options) })
	}
}

// firstFault returns err, or the faults that validate finds without the values they quote.
func firstFault(kind string, err error, validate func() field.ErrorList) error {
	if err != nil {
		return err
	}
	faults := validate()
	if len(faults) == 0 {
		return nil
	}
	for _, fault := range faults {
		fault.BadValue = field.OmitValueType{}
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", faults)
}

func fromQuery(query url.Values, options runtime.Object) error {
	if metainternalversionscheme.ParameterCodec.DecodeParameters(query, metav1.SchemeGroupVersion, options) != nil {
		return refuse(textBadQuery)
	}
	return nil
}

func fromBody(r *http.Request, body []byte, options *metav1.DeleteOptions) error {
	codecs := metainternalversionscheme.Codecs
	serializer, err := negotiation.NegotiateInputSerializer(r, false, codecs)
	if err != nil {
		return nil //nolint:nilerr // the handler answers 415
	}
	kind := metav1.SchemeGroupVersion.WithKind("DeleteOptions")
	decoded, _, err := codecs.DecoderToVersion(serializer.Serializer, kind.GroupVersion()).Decode(body, &kind, options)
	if err != nil || decoded != options {
		return refuse(textNotDeleteOptions)
	}
	return nil
}
