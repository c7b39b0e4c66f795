// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

// WithScrub wraps the whole handler chain. It refuses upgraded connections on every path, URIs over MaxURIBytes and every
// redirect, forbids caches to store an answer, and scrubs the query string (see ScrubQuery) in a copy of the request, so that neither the
// access log nor the audit log nor a trace ever sees the original.
func WithScrub(handler http.Handler) http.Handler {
	scrubbing := WithURILimit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(responsewriter.WrapForHTTP1Or2(&answerGuard{ResponseWriter: w, ctx: r.Context()}), scrubbed(r))
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// WithCacheControl keeps what is set already.
		w.Header().Set("Cache-Control", "no-store")
		if wantsUpgrade(r) {
			writeStatus(w, http.StatusBadRequest, "upgraded connections are not served: send a plain request")
			return
		}
		scrubbing.ServeHTTP(w, r)
	})
}

// wantsUpgrade says whether the client asks for another protocol on its connection.
func wantsUpgrade(r *http.Request) bool {
	if _, ok := r.Header["Upgrade"]; ok || r.Method == http.MethodConnect {
		return true
	}
	for _, header := range r.Header["Connection"] {
		for token := range strings.SplitSeq(header, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return true
			}
		}
	}
	return false
}

// scrubbed is the request itself or, if its query needs it, a scrubbed copy.
func scrubbed(r *http.Request) *http.Request {
	if r.URL == nil || r.URL.RawQuery == "" {
		return r
	}
	query := ScrubQuery(r.URL.Path, r.URL.RawQuery)
	if query == r.URL.RawQuery {
		return r
	}
	out := r.WithContext(r.Context())
	target := *r.URL
	target.RawQuery = query
	out.URL = &target
	if path, _, found := strings.Cut(r.RequestURI, "?"); found {
		out.RequestURI = path + "?" + query
	}
	return out
}

// answerGuard answers 404 where a handler redirects: a client that follows would carry its credentials along. 304 is no redirect and
// passes. It answers 429 where upstream's filter answers 401 although nobody could be asked about the credentials
// (inflight.SetBusy): that filter knows one answer only.
type answerGuard struct {
	http.ResponseWriter
	ctx      context.Context //nolint:containedctx // of the request that is answered
	replaced bool
}

var _ responsewriter.UserProvidedDecorator = (*answerGuard)(nil)

// Unwrap returns the writer that the server made.
func (w *answerGuard) Unwrap() http.ResponseWriter {
	return w.ResponseWriter
}

// WriteHeader sends the status, or another answer in its place.
func (w *answerGuard) WriteHeader(code int) {
	if w.replaced {
		return
	}
	switch {
	case code == http.StatusUnauthorized && IsBusy(w.ctx):
		w.replace(http.StatusTooManyRequests, textBusyReviews)
	case code >= 300 && code <= 399 && code != http.StatusNotModified:
		w.replace(http.StatusNotFound, "this address moved and redirects are not served: look the address up again")
	default:
		w.ResponseWriter.WriteHeader(code)
	}
}

func (w *answerGuard) replace(code int32, text string) {
	w.replaced = true
	for _, name := range []string{"Location", "Content-Length", "Content-Encoding", "Etag"} {
		w.Header().Del(name)
	}
	if code == http.StatusTooManyRequests {
		w.Header().Del("Connection") // which ends a connection of HTTP/2, as a stranger's
		w.Header().Set("Retry-After", strconv.Itoa(RetryAfterSeconds))
	}
	writeStatus(w.ResponseWriter, code, text)
}

// Write sends a part of the body, unless the answer was replaced.
func (w *answerGuard) Write(data []byte) (int, error) {
	if w.replaced {
		return len(data), nil
	}
	return w.ResponseWriter.Write(data)
}

// writeStatus writes a Status as JSON: outside the chain nothing is known that a negotiation needs.
func writeStatus(w http.ResponseWriter, code int32, text string) {
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure,
		Code:     code,
		Reason:   metav1.StatusReasonBadRequest,
		Message:  text,
	}
	switch code {
	case http.StatusNotFound:
		status.Reason = metav1.StatusReasonNotFound
	case http.StatusTooManyRequests:
		status.Reason = metav1.StatusReasonTooManyRequests
		status.Details = &metav1.StatusDetails{RetryAfterSeconds: RetryAfterSeconds}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(code))
	// The client may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(status)
}
