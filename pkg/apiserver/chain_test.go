// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"
	"k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing"
	flowcontrolrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"

	"github.com/securevalue/secret-apiserver/pkg/httpguard"
)

// The body of a stranger is timed: what guard.Receive finds came through guard.WithTimeouts, before anybody asks who it
// is.
func TestChainTimesBodies(t *testing.T) {
	answer := httptest.NewRecorder()
	config := genericapiserver.NewConfig(Codecs)
	config.FeatureGate = utilfeature.DefaultFeatureGate
	config.RequestInfoResolver = &apirequest.RequestInfoFactory{APIPrefixes: sets.NewString("apis")}
	config.Authentication.Authenticator = authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response,
		bool, error) {
		err := httpguard.Receive(r.Context(), httpguard.User("stranger"), 1)
		if _, timed := errors.AsType[*http.MaxBytesError](err); !timed {
			t.Errorf("Receive = %v, want that the body is too long: it does not come through WithTimeouts", err)
		}
		return nil, false, nil
	})
	chain := buildHandlerChain(http.NotFoundHandler(), config, httpguard.NewPlaces(1, 1))
	chain.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/apis",
		strings.NewReader("{}")))
	if answer.Code != http.StatusUnauthorized {
		t.Errorf("status %d", answer.Code)
	}
}

// seats stands for priority and fairness: it says what of the body is there when a request asks for a seat.
type seats struct {
	utilflowcontrol.Interface
	received error
}

func (s *seats) Handle(
	ctx context.Context, _ utilflowcontrol.RequestDigest,
	_ func(*flowcontrolv1.FlowSchema, *flowcontrolv1.PriorityLevelConfiguration, string),
	_ func() flowcontrolrequest.WorkEstimate, _ fairqueuing.QueueNoteFn, _ func(),
) {
	s.received = httpguard.Receive(ctx, httpguard.User("a"), 1) // nil if it was received before, by a higher limit
}

// Priority and fairness sees a write once its body is there.
func TestBodyComesBeforeTheSeat(t *testing.T) {
	inner := &seats{}
	handler := httpguard.WithTimeouts(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		bodyFirst{inner, MaxRequestBodyBytes}.Handle(r.Context(), utilflowcontrol.RequestDigest{
			RequestInfo: &apirequest.RequestInfo{Verb: "create"}, User: &user.DefaultInfo{Name: "a"},
		}, nil, nil, nil, nil)
	}))
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("{}"))
	handler.ServeHTTP(httptest.NewRecorder(), request)
	if inner.received != nil {
		t.Errorf("the body was not received: %v", inner.received)
	}
}
