// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What the server made of a URI counts as what the client sent does: a filter in front may have rewritten either.
func TestURILimit(t *testing.T) {
	served := 0
	handler := WithScrub(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	for name, change := range map[string]func(r *http.Request, long string){
		"query of the URL":   func(r *http.Request, long string) { r.URL.RawQuery = long },
		"path of the URL":    func(r *http.Request, long string) { r.URL.Path = long },
		"URI as it was sent": func(r *http.Request, long string) { r.RequestURI = long },
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, listPath, nil)
		change(r, strings.Repeat("c4n4ry", MaxURIBytes/6+1))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusRequestURITooLong || strings.Contains(w.Body.String(), "c4n4ry") || !strings.Contains(w.Body.String(), "the limit is 65536") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, listPath+"?limit="+strings.Repeat("1", MaxURIBytes-len(listPath)-len("?limit=")), nil)
	handler.ServeHTTP(httptest.NewRecorder(), r)
	if served != 1 {
		t.Errorf("%d requests were served, want the one of the greatest length", served)
	}
}
