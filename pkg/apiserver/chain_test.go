// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"github.com/securevalue/secret-apiserver/pkg/apiserver/guard"
	"github.com/securevalue/secret-apiserver/pkg/inflight"
)

// The body of a stranger is timed: what guard.Receive finds came through guard.WithTimeouts, before anybody asks who it is.
func TestChainTimesBodies(t *testing.T) {
	answer := httptest.NewRecorder()
	config := genericapiserver.NewConfig(Codecs)
	config.FeatureGate = utilfeature.DefaultFeatureGate
	config.RequestInfoResolver = &apirequest.RequestInfoFactory{APIPrefixes: sets.NewString("apis")}
	config.Authentication.Authenticator = authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		err := guard.Receive(r.Context(), inflight.User("stranger"), 1)
		if _, timed := errors.AsType[*http.MaxBytesError](err); !timed {
			t.Errorf("Receive = %v, want that the body is too long: it does not come through WithTimeouts", err)
		}
		return nil, false, nil
	})
	chain := buildHandlerChain(http.NotFoundHandler(), config, guard.NewPlaces(1, 1))
	chain.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/apis", strings.NewReader("{}")))
	if answer.Code != http.StatusUnauthorized {
		t.Errorf("status %d", answer.Code)
	}
}
