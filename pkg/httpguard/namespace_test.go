// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"net/http"
	"testing"
)

// A namespace that is no path segment would reach storage as part of a key.
func TestNamespaceThatIsNoName(t *testing.T) {
	const base = "/apis/secret.grafana.app/v1beta1/namespaces/"
	for namespace, want := range map[string]int{"default": 0, "org-1": 0, "..": http.StatusBadRequest, ".": http.StatusBadRequest, "a%25b": http.StatusBadRequest} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			got := send(t, method, base+namespace+"/securevalues", jsonType, `{"spec":{"value":"`+canary+`"}}`)
			if got.passed != (want == 0) || !got.passed && got.code != want {
				t.Errorf("%s in %q: want %d, got %d %s", method, namespace, want, got.code, got.raw)
			}
		}
	}
}
