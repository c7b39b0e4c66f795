// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"fmt"
	"net/http"
)

// MaxURIBytes bounds the path and query of a request together. Parsing a selector costs far more than reading it, a megabyte more
// than a second, and net/http takes a megabyte. What clients of Kubernetes send is much shorter: a continue token has some
// hundred bytes, a resourceVersion twenty, and a selector that lists a thousand names 30 KB; proxies in between mostly stop at 8 to 16 KiB.
const MaxURIBytes = 64 << 10

// WithURILimit answers 414 to a request whose URI is longer than MaxURIBytes, before anything parses, logs or audits it. The
// answer quotes nothing of it.
func WithURILimit(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if length := uriLength(r); length > MaxURIBytes {
			writeStatus(w, http.StatusRequestURITooLong, fmt.Sprintf(
				"the URI has %d bytes, and the limit is %d: send a shorter selector, or select on the client's side", length, MaxURIBytes))
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
