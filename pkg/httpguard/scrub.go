// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

// WithScrub wraps the whole handler chain. It refuses protocol upgrades, URIs over MaxURIBytes and redirects, forbids
// caching, and scrubs the query string (see ScrubQuery) in a copy of the request, so that the access log, the audit log
// and traces never see the original.
func WithScrub(handler http.Handler) http.Handler {
	scrubbing := WithURILimit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(responsewriter.WrapForHTTP1Or2(&answerGuard{ResponseWriter: w, ctx: r.Context()}),
			scrubbed(r))
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// WithCacheControl keeps what is set already.
		w.Header().Set("Cache-Control", "no-store")
		if wantsUpgrade(r) {
			writeStatus(w, http.StatusBadRequest, "protocol upgrades are not supported: send a plain request")
			return
		}
		scrubbing.ServeHTTP(w, r)
	})
}

// wantsUpgrade reports whether the client asks for another protocol on its connection.
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

// scrubbed returns the request or, if its query has to change, a scrubbed copy.
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

// answerGuard answers 404 instead of a redirect, which clients would follow with their credentials (304 passes), and
// 429 instead of upstream's 401 when the credentials could not be reviewed (SetBusy).
type answerGuard struct {
	http.ResponseWriter
	ctx      context.Context //nolint:containedctx // of the request
	replaced bool
}

var _ responsewriter.UserProvidedDecorator = (*answerGuard)(nil)

// Unwrap returns the server's writer.
func (w *answerGuard) Unwrap() http.ResponseWriter {
	return w.ResponseWriter
}

// WriteHeader sends the status, or replaces the answer.
func (w *answerGuard) WriteHeader(code int) {
	if w.replaced {
		return
	}
	switch {
	case code == http.StatusUnauthorized && IsBusy(w.ctx):
		w.replace(http.StatusTooManyRequests, textBusyReviews)
	case code >= 300 && code <= 399 && code != http.StatusNotModified:
		w.replace(http.StatusNotFound, "this URL has moved and redirects are not supported: check the URL")
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
		w.Header().Del("Connection") // set with 401 for an unknown caller, it would end an HTTP/2 connection
		w.Header().Set("Retry-After", strconv.Itoa(RetryAfterSeconds))
	}
	writeStatus(w.ResponseWriter, code, text)
}

// Write sends a part of the body unless the answer was replaced.
func (w *answerGuard) Write(data []byte) (int, error) {
	if w.replaced {
		return len(data), nil
	}
	return w.ResponseWriter.Write(data)
}

// writeStatus writes a Status as JSON: content negotiation needs request information that is not available yet.
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
	_ = json.NewEncoder(w).Encode(status) // fails only when the client is gone
}

// MaxURIBytes bounds the path and query of a request together. Parsing a selector costs far more than reading it, a
// megabyte more than a second, and net/http takes a megabyte. What clients of Kubernetes send is much shorter: a
// continue token has some hundred bytes, a resourceVersion twenty, and a selector that lists a thousand names 30 KB;
// proxies in between mostly stop at 8 to 16 KiB.
const MaxURIBytes = 64 << 10

// WithURILimit answers 414 to a request whose URI is longer than MaxURIBytes, before anything parses, logs or audits
// it. The answer quotes nothing of it.
func WithURILimit(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if length := uriLength(r); length > MaxURIBytes {
			writeStatus(w, http.StatusRequestURITooLong, fmt.Sprintf(
				"the URI has %d bytes, the limit is %d: send a shorter selector, or filter in the client", length,
				MaxURIBytes))
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// uriLength counts what the client sent or, if that is more, what the server made of it.
func uriLength(r *http.Request) int {
	length := len(r.RequestURI)
	if r.URL != nil {
		length = max(length, len(r.URL.Path)+len(r.URL.RawQuery))
	}
	return length
}
