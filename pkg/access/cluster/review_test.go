// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/securevalue/secret-apiserver/pkg/httpguard"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

func jwt(payload string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
}

// Only a signed JWT whose aud names the audience is worth a review.
func TestNames(t *testing.T) {
	good := `{"aud":"` + audience + `"}`
	standard := base64.StdEncoding.EncodeToString([]byte(`{"x":"???>>>","aud":"` + audience + `"}`)) // has + and /
	for name, test := range map[string]struct {
		token string
		want  bool
	}{
		"string":  {jwt(good), true},
		"list":    {jwt(`{"aud":["x","` + audience + `"]}`), true},
		"escaped": {jwt(`{"aud":"secret\u002egrafana.app"}`), true},
		"padded":  {"e30." + base64.URLEncoding.EncodeToString([]byte(good+" ")) + ".c2ln", true},
		"expired": {jwt(`{"exp":1,"aud":"` + audience + `"}`), true},
		"deep elsewhere": {jwt(`{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,"aud":"` +
			audience + `"}`), true},
		"other":               {jwt(`{"aud":"vault"}`), false},
		"prefix":              {jwt(`{"aud":"secret.grafana.app.evil"}`), false},
		"other case":          {jwt(`{"aud":"SECRET.grafana.app"}`), false},
		"in the subject":      {jwt(`{"sub":"` + audience + `","aud":"x"}`), false},
		"no aud":              {jwt(`{}`), false},
		"null":                {jwt(`{"aud":null}`), false},
		"number":              {jwt(`{"aud":1}`), false},
		"object":              {jwt(`{"aud":{"` + audience + `":1}}`), false},
		"list of lists":       {jwt(`{"aud":[["` + audience + `"]]}`), false},
		"list of mixed types": {jwt(`{"aud":["` + audience + `",1]}`), false},
		"empty list":          {jwt(`{"aud":[]}`), false},
		"not an object":       {jwt(`"` + audience + `"`), false},
		"more than one":       {jwt(good + good), false},
		"too deep": {jwt(`{"aud":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`),
			false},
		"not JSON":              {jwt(`aud=` + audience), false},
		"standard alphabet":     {"e30." + strings.TrimRight(standard, "=") + ".c2ln", false},
		"not base64":            {"e30.%%%.c2ln", false},
		"opaque":                {"opaque", false},
		"empty":                 {"", false},
		"only dots":             {"..", false},
		"many dots":             {strings.Repeat(".", maxTokenBytes), false},
		"two parts":             {strings.TrimSuffix(jwt(good), ".c2ln"), false},
		"no signature":          {strings.TrimSuffix(jwt(good), "c2ln"), false},
		"no header":             {strings.TrimPrefix(jwt(good), "e30"), false},
		"encrypted, five parts": {jwt(good) + ".a.b", false},
		"a megabyte":            {jwt(`{"aud":"` + audience + `","x":"` + strings.Repeat("x", 1<<20) + `"}`), false},
	} {
		if got := names(test.token, audience); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// A stranger's made-up tokens cost kube-apiserver nothing on the decrypt port, unless the operator says that tokens may
// be opaque.
func TestTokensWithoutTheAudienceAreNotReviewed(t *testing.T) {
	t.Parallel()
	for _, opaque := range []bool{false, true} {
		w := newWorld(t, func(c *AuthenticationConfig) { c.OpaqueTokens = opaque })
		w.api.SetToken("opaque", kubeapi.Token{User: "hook", Audiences: []string{audience}})
		server := w.listen(t, w.authn.Credentials())
		want, reviews := "", 0
		if opaque {
			want, reviews = "hook", 2
		}
		wantUser(t, server, call{token: "opaque"}, want)
		wantUser(t, server, call{token: kubeapi.JWT("core", kubeapi.Audience)}, "")
		if got := w.api.Count("tokenreviews"); got != reviews {
			t.Errorf("opaque tokens %v: %d reviews, want %d", opaque, got, reviews)
		}
	}
}

// ask authenticates a token as a request from an address would, and reports who it is and whether the answer has to be
// 429.
func ask(t *testing.T, authn authenticator.Request, address, token string) (user string, busy bool) {
	t.Helper()
	handler := httpguard.WithLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if response, ok, _ := authn.AuthenticateRequest(r); ok {
			user = response.User.GetName()
		}
		busy = httpguard.IsBusy(r.Context())
	}))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/apis", nil)
	r.RemoteAddr = address
	r.Header.Set("Authorization", "Bearer "+token)
	handler.ServeHTTP(httptest.NewRecorder(), r)
	return user, busy
}

// One peer has a quarter of the reviews, all peers together have sixteen, and who is refused is not kept as nobody.
func TestReviewsAreBounded(t *testing.T) {
	t.Parallel()
	for name, port := range map[string]struct {
		audience string
		pick     func(*Authenticator) authenticator.Request
	}{
		"API port":     {kubeapi.Audience, (*Authenticator).Request},
		"decrypt port": {audience, (*Authenticator).Credentials},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *AuthenticationConfig) {
				c.TokenCacheTTL, c.AudienceCacheTTL = time.Hour,
					time.Hour
			})
			authn := port.pick(w.authn)
			token := func(subject string) string {
				token := kubeapi.JWT(subject, port.audience)
				w.api.SetToken(token, kubeapi.Token{User: subject, Audiences: []string{port.audience}})
				return token
			}
			kept := token("kept")
			if user, _ := ask(t, authn, "192.0.2.1:1", kept); user != "kept" {
				t.Fatalf("before: %q", user)
			}
			release := w.api.Hold()
			var group sync.WaitGroup
			defer group.Wait()
			defer release()
			from := func(address string, n int) { // reviews that wait
				before := w.api.Waiting()
				for i := range n {
					token := kubeapi.JWT(fmt.Sprint(address, i), port.audience)
					group.Go(func() { ask(t, authn, address, token) })
				}
				eventually(t, "the reviews wait", func() bool { return w.api.Waiting() == before+n })
			}
			wantBusy := func(address, subject string) {
				t.Helper()
				if user, busy := ask(t, authn, address, token(subject)); user != "" || !busy {
					t.Errorf("%s from %s: %q, busy %v, want 429", subject, address, user, busy)
				}
			}
			from("192.0.2.1:1", MaxReviews/4)
			wantBusy("192.0.2.1:2", "over the share of its address")
			for n := range MaxReviews - MaxReviews/4 {
				from(fmt.Sprintf("198.51.100.%d:1", n), 1)
			}
			wantBusy("203.0.113.1:1", "over the limit")
			if w.api.Waiting() != MaxReviews {
				t.Errorf("%d reviews, want %d", w.api.Waiting(), MaxReviews)
			}
			if user, busy := ask(t, authn, "192.0.2.1:3", kept); user != "kept" || busy {
				t.Errorf("a token that was reviewed before: %q %v", user, busy)
			}
			release()
			group.Wait()
			if user, busy := ask(t, authn, "203.0.113.1:1", token("over the limit")); user != "over the limit" || busy {
				t.Errorf("afterwards: %q, busy %v", user, busy)
			}
		})
	}
}

// Requests that bring the same token share one review and count once.
func TestOneTokenIsOneReview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := kubeapi.JWT("ann", audience)
	w.api.SetToken(token, kubeapi.Token{User: "ann", Audiences: []string{audience}})
	release := w.api.Hold()
	defer release()
	var group sync.WaitGroup
	var mutex sync.Mutex
	got := map[string]int{}
	for range 100 {
		group.Go(func() {
			user, _ := ask(t, w.authn.Credentials(), "192.0.2.1:1", token)
			mutex.Lock()
			got[user]++
			mutex.Unlock()
		})
	}
	eventually(t, "one review waits", func() bool { return w.api.Waiting() == 1 })
	release()
	group.Wait()
	if got["ann"] != 100 {
		t.Errorf("%v, want ann a hundred times", got)
	}
}

// What is remembered of a token goes with its last request, also when the client leaves first.
func TestReviewerForgets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, err := newReviewer("test", w.api.Client(t).AuthenticationV1(), 0)
	if err != nil {
		t.Fatal(err)
	}
	r := token.(*reviewer)
	release := w.api.Hold()
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { _, _, _ = r.AuthenticateToken(ctx, "token") })
	eventually(t, "the review waits", func() bool { return w.api.Waiting() == 1 })
	cancel()
	group.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) != 0 {
		t.Errorf("%d tokens are remembered", len(r.pending))
	}
}
