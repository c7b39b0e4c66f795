// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/waitgroup"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/securevalue/secret-apiserver/pkg/httpguard"
)

// The body of a stranger is timed: what guard.Receive finds came through guard.WithTimeouts, before anybody asks who it
// is.
func TestPortTimesBodies(t *testing.T) {
	answer := httptest.NewRecorder()
	handler := NewHandler(HandlerConfig{
		Service: newTestService(&steps{}), Draining: &waitgroup.SafeWaitGroup{},
		Authenticator: authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
			err := httpguard.Receive(r.Context(), httpguard.User("stranger"), 1)
			if _, timed := errors.AsType[*http.MaxBytesError](err); !timed {
				t.Errorf("Receive = %v, want that the body is too long: it does not come through WithTimeouts", err)
			}
			return nil, false, nil
		}),
	})
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("{}")))
	if answer.Code != http.StatusUnauthorized {
		t.Errorf("status %d", answer.Code)
	}
}
