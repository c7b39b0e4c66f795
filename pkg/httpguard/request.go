// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// WithRequestGuard refuses the bodies of writes to SecureValues that no decoder behind it should see: too large, not
// well formed, or with a spec.value that is not a string. Bodies that pass are handed on byte for byte; the absent body of a
// POST to a subresource becomes an empty object, which upstream's decoder asks for.
//
// It needs the RequestInfo in the context and belongs behind authorization, so that who may not write learns nothing
// from it. A maxBytes of 0 or less means no limit, as in the library. Protobuf and CBOR get
// the size limit only; media types that are not served are left to the 415 of the handlers.
func WithRequestGuard(handler http.Handler, codecs runtime.NegotiatedSerializer, maxBytes int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := request.RequestInfoFrom(r.Context())
		if !ok {
			// Without it the guard cannot tell what it guards, and must not wave anything through.
			responsewriters.InternalError(w, r, errors.New("no RequestInfo found in the context"))
			return
		}
		gv := schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
		if info.IsResourceRequest && len(content.IsPathSegmentName(info.Namespace)) > 0 {
			// Names are checked by the handlers, namespaces by nobody: storage refuses the key with a 500 that quotes it.
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
			body = []byte("{}") // so that a request which has nothing to say need not say it
		}
		handler.ServeHTTP(w, withBody(r, body))
	})
}

// guards says whether the request writes to a SecureValue and has a body.
func guards(info *request.RequestInfo, r *http.Request) bool {
	if !info.IsResourceRequest || info.APIGroup != secret.GroupName || info.Resource != secret.Resource || r.Body == nil {
		return false
	}
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return true
	}
	return false
}

// readBody returns the whole body of a request, at most limit bytes of it. It is in memory already where places are given out
// (Receive); where nobody does that, it is read here.
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
			// A subresource and DELETE may take a request without a body.
			return nil
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

// withBody is the request with the bytes that were read from it as its body.
func withBody(r *http.Request, body []byte) *http.Request {
	out := r.WithContext(r.Context())
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	out.TransferEncoding = nil
	return out
}
