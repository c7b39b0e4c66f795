// SPDX-License-Identifier: Apache-2.0

package aggregated

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

const audience = "secret.grafana.app"

// TestMadeUpTokensCostNoReview: on the decrypt port kube-apiserver is asked only about tokens that name its audience.
func TestMadeUpTokensCostNoReview(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	s := harness.StartAggregated(t, c)
	decrypt := *s
	decrypt.URL = s.DecryptURL
	before := c.API.Count("tokenreviews")
	for n := range 800 {
		token := harness.Canary()
		switch n % 4 {
		case 1:
			token = kubeapi.JWT(token, kubeapi.Audience)
		case 2:
			token = strings.Repeat(token+".", 1+n%8)
		case 3:
			token = kubeapi.JWT(token, audience+".evil")
		}
		r := harness.Request{Method: http.MethodGet, Path: "/decrypt/v1/namespaces/default/secrets/a/decrypt", Token: token}
		decrypt.Do(t, r).Want(t, http.StatusUnauthorized)
	}
	if got := c.API.Count("tokenreviews") - before; got != 0 {
		t.Errorf("%d reviews, want none", got)
	}
}

// TestOpaqueTokens: a webhook authenticator of the cluster may issue tokens that are not JWTs, if the operator says so.
func TestOpaqueTokens(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	c.API.SetToken("opaque", kubeapi.Token{User: "k6", Audiences: []string{audience}})
	for args, want := range map[string]int{"": http.StatusUnauthorized, "--decrypt-opaque-tokens": http.StatusForbidden} {
		s := harness.StartAggregated(t, c, strings.Fields(args)...)
		s.URL = s.DecryptURL
		r := harness.Request{Method: http.MethodGet, Path: "/decrypt/v1/namespaces/default/secrets/a/decrypt", Token: "opaque"}
		if got := s.Do(t, r); got.Code != want {
			t.Errorf("%q: %d %s, want %d", args, got.Code, got.Body, want)
		}
		s.Stop(t)
	}
}

// TestReviewsInFlight: made-up tokens ask kube-apiserver a few questions at a time. Beyond that the answer is 429 with
// Retry-After on either port, in its protocol and in the audit log; callers that are known meanwhile are served.
func TestReviewsInFlight(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		path, audience string
		port           func(*harness.Server) string
		kept           bool // a token that was reviewed, for as long as the test takes
	}{
		"API port": {harness.Collection("default"), kubeapi.Audience, func(s *harness.Server) string { return s.URL }, true},
		"decrypt port": {"/decrypt/v1/namespaces/default/secrets/a/decrypt", audience,
			func(s *harness.Server) string { return s.DecryptURL }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := harness.NewCluster(t)
			c.API.Allow(allowUsers("ann"))
			s := harness.StartAggregated(t, c, "--authentication-token-webhook-cache-ttl=1h")
			port := *s
			port.URL = test.port(s)
			ask := func(token string) harness.Response {
				return port.Get(t, test.path, token)
			}
			ann := kubeapi.JWT("ann", test.audience)
			c.API.SetToken(ann, kubeapi.Token{User: "ann", Audiences: []string{test.audience}})
			ask(ann)
			release := c.API.Hold()
			var group sync.WaitGroup
			defer group.Wait()
			defer release()
			var mutex sync.Mutex
			var busy harness.Response
			codes := map[int]int{}
			for n := range 100 {
				group.Go(func() {
					got := ask(kubeapi.JWT(fmt.Sprint("made up ", n), test.audience))
					mutex.Lock()
					defer mutex.Unlock()
					if codes[got.Code]++; got.Code == http.StatusTooManyRequests {
						busy = got
					}
				})
			}
			harness.Eventually(t, "most are refused", func() bool {
				mutex.Lock()
				defer mutex.Unlock()
				return codes[http.StatusTooManyRequests] >= 84
			})
			if waiting := c.API.Waiting(); waiting < 1 || waiting > 16 {
				t.Errorf("%d reviews at a time", waiting)
			}
			wantKnown := func(when string) {
				t.Helper()
				if got := ask(ann); got.Code == http.StatusUnauthorized || got.Code == http.StatusTooManyRequests {
					t.Errorf("a good token, %s: %d %s", when, got.Code, got.Body)
				}
			}
			if test.kept {
				wantKnown("meanwhile")
			}
			release()
			group.Wait()
			if codes[http.StatusTooManyRequests]+codes[http.StatusUnauthorized] != 100 {
				t.Errorf("%v, want 429 and 401 only", codes)
			}
			if status := busy.Status(t); busy.Header.Get("Retry-After") != "1" || status.Reason != metav1.StatusReasonTooManyRequests {
				t.Errorf("%v %s", busy.Header, busy.Body)
			}
			wantKnown("afterwards")
			s.Stop(t)
			if !bytes.Contains(harness.ReadFile(t, s.AuditFile), []byte(`"code":429`)) {
				t.Error("no 429 in the audit log")
			}
		})
	}
}

// TestHalfRequestsHoldNoSeat: with priority and fairness a request takes a seat once its body is there, so callers that
// keep theirs back take none from others.
func TestHalfRequestsHoldNoSeat(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	c.API.Allow(allowUsers("ann", "flood"))
	s := harness.StartAggregated(t, c, "--max-requests-inflight=4", "--max-mutating-requests-inflight=4")
	proxy := s.As(t, c.ProxyCA.Client(t, harness.FrontProxy))
	var group sync.WaitGroup
	defer group.Wait()
	var bodies []io.Closer
	for range 40 {
		body, writer := io.Pipe()
		bodies = append(bodies, writer)
		began := make(chan struct{})
		group.Go(func() {
			response, err := proxy.Send(t.Context(), harness.Request{
				Method: http.MethodPost, Path: harness.Collection("default"), Header: remote("flood"), Stream: body,
			})
			if err != nil {
				t.Error(err)
				return
			}
			_ = response.Body.Close()
			// 429 is possible once all of them end together: they are one user's.
			if response.StatusCode < 400 || response.StatusCode >= 500 {
				t.Errorf("half a body: %d", response.StatusCode)
			}
		})
		go func() {
			_, _ = writer.Write([]byte("{")) // returns once the client took it
			close(began)
		}()
		<-began
	}
	for n := range 50 {
		create(t, proxy, fmt.Sprint("other-", n), "v", remote("ann")).Want(t, http.StatusCreated)
	}
	for _, body := range bodies {
		_ = body.Close()
	}
}
