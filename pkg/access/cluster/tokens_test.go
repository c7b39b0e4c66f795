// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"flag"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

// A token works on the port that it was issued for, and on no other.
func TestAudiences(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	both := []string{"x", audience, kubeapi.Audience}
	for _, test := range []struct {
		name         string
		names        []string // in the token
		whose        kubeapi.Token
		api, decrypt string
	}{
		{"core", []string{kubeapi.Audience}, kubeapi.Token{User: "core", Audiences: []string{kubeapi.Audience}}, "core",
			""},
		{"ours", []string{audience}, kubeapi.Token{User: "ours", Audiences: []string{audience}}, "", "ours"},
		{"both", both, kubeapi.Token{User: "both", Audiences: both}, "both", "both"},
		{"other", []string{audience + ".evil", "evil." + audience},
			kubeapi.Token{User: "other", Audiences: []string{"vault", audience + ".evil"}}, "", ""},
		{"claims to be ours", []string{audience}, kubeapi.Token{User: "claims", Audiences: []string{kubeapi.Audience}},
			"claims", ""},
		// kube-apiserver took it and named no audience
		{"silent", both, kubeapi.Token{User: "silent", Silent: true}, "silent", ""},
	} {
		token := kubeapi.JWT(test.name, test.names...)
		w.api.SetToken(token, test.whose)
		wantUser(t, w.listen(t, w.authn.Request()), call{token: token}, test.api)
		wantUser(t, w.listen(t, w.authn.Credentials()), call{token: token}, test.decrypt)
	}
	wantUser(t, w.listen(t, w.authn.Request()), call{token: "none"}, "")
	wantUser(t, w.listen(t, w.authn.Credentials()), call{token: kubeapi.JWT("unknown", audience)}, "")
}

// Wrong credentials are refused on the health paths too, and nothing but the health paths is open.
func TestAnonymous(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.listen(t, w.authn.Request())
	for path, want := range map[string]string{
		"/livez": anonymous, "/readyz": anonymous, "/healthz": anonymous, "/readyz/etcd": anonymous,
		"/": "", "/apis": "", "/openapi/v2": "", "/metrics": "", "/livezz": "",
	} {
		wantUser(t, server, call{path: path}, want)
	}
	wantUser(t, server, call{path: "/livez", token: "wrong"}, "")
	wantUser(t, server, call{path: "/livez", header: remote("ann")}, anonymous)
}

// An answer is kept for as long as the flag says, and not at all when it says 0.
func TestTokenCache(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ttl     time.Duration
		reviews int
		after   string // who the token is after it was revoked
	}{
		"kept":     {time.Hour, 1, "ann"},
		"not kept": {0, 4, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *AuthenticationConfig) { c.TokenCacheTTL = test.ttl })
			server := w.listen(t, w.authn.Request())
			w.api.SetToken("token", kubeapi.Token{User: "ann", Audiences: []string{kubeapi.Audience}})
			for range 3 {
				wantUser(t, server, call{token: "token"}, "ann")
			}
			w.api.RemoveToken("token")
			wantUser(t, server, call{token: "token"}, test.after)
			if got := w.api.Count("tokenreviews"); got != test.reviews {
				t.Errorf("%d reviews, want %d", got, test.reviews)
			}
		})
	}
}

// A kube-apiserver that does not answer makes a token nobody's, not somebody's, and the failure is not kept.
func TestTokenReviewFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *AuthenticationConfig) { c.TokenCacheTTL, c.AudienceCacheTTL = time.Hour, time.Hour })
	token := kubeapi.JWT("ann", audience)
	w.api.SetToken(token, kubeapi.Token{User: "ann", Audiences: []string{kubeapi.Audience, audience}})
	api, decrypt := w.listen(t, w.authn.Request()), w.listen(t, w.authn.Credentials())
	w.api.SetDown(true)
	wantUser(t, api, call{token: token}, "")
	wantUser(t, decrypt, call{token: token}, "")
	w.api.SetDown(false)
	wantUser(t, api, call{token: token}, "ann")
	wantUser(t, decrypt, call{token: token}, "ann")
}

// lockedBuffer can be read while somebody writes.
type lockedBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// client-go logs bodies at -v=8, and a TokenReview is the token. Not parallel: it turns up the log of the whole
// process.
func TestTokenStaysOutOfTheLog(t *testing.T) {
	var flags flag.FlagSet
	klog.InitFlags(&flags)
	for name, value := range map[string]string{"v": "10", "logtostderr": "false", "alsologtostderr": "false",
		"stderrthreshold": "FATAL"} {
		if err := flags.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	var log lockedBuffer
	klog.SetOutput(&log)
	restore := klog.CaptureState()
	defer restore.Restore()

	w := newWorld(t)
	token := kubeapi.JWT("canary-"+strings.Repeat("t", 20), audience)
	w.api.SetToken(token, kubeapi.Token{User: "ann", Audiences: []string{kubeapi.Audience, audience}})
	wantUser(t, w.listen(t, w.authn.Request()), call{token: token}, "ann")
	wantUser(t, w.listen(t, w.authn.Credentials()), call{token: token}, "ann")
	wantUser(t, w.listen(t, w.authn.Request()), call{token: token + "wrong"}, "")
	klog.Flush()
	if !strings.Contains(log.String(), "Response Body") {
		t.Errorf("the log holds no bodies, so this shows nothing")
	}
	if strings.Contains(log.String(), token) {
		t.Errorf("a token is in the log")
	}
}
