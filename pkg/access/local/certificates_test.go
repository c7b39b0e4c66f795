// SPDX-License-Identifier: Apache-2.0

package local

import (
	"crypto/tls"
	stdx509 "crypto/x509"
	"errors"
	"net/http"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
)

// world is an authenticator, the clock and the roots it sees, and how often what it wraps was asked.
type world struct {
	authenticator.Request

	now   time.Time
	roots *stdx509.CertPool
	asked int
	fail  error
}

func newWorld(roots *stdx509.CertPool) *world {
	w := &world{now: time.Now(), roots: roots}
	verify := func() (stdx509.VerifyOptions, bool) {
		options := x509.DefaultVerifyOptions()
		options.Roots, options.CurrentTime = w.roots, w.now
		return options, w.roots != nil
	}
	upstream := x509.NewDynamic(verify, x509.CommonNameUserConversion)
	counted := authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		w.asked++
		if w.fail != nil {
			return nil, false, w.fail
		}
		return upstream.AuthenticateRequest(req)
	})
	r := Remember(verify, counted).(*remembering)
	r.now = func() time.Time { return w.now }
	w.Request = r
	return w
}

// want asks with a certificate, for a user ("" for none), after a number of times that the wrapped one was asked.
func (w *world) want(t *testing.T, certificate *tls.ConnectionState, name string, asked int) {
	t.Helper()
	response, ok, err := w.AuthenticateRequest(&http.Request{TLS: certificate})
	got := ""
	if ok && err == nil {
		got = response.User.GetName()
	}
	if got != name || w.asked != asked {
		t.Errorf("got %q after %d questions (%v), want %q after %d", got, w.asked, err, name, asked)
	}
}

func sent(chain ...tls.Certificate) *tls.ConnectionState {
	state := &tls.ConnectionState{}
	for _, c := range chain {
		state.PeerCertificates = append(state.PeerCertificates, c.Leaf)
	}
	return state
}

func TestAskedOnceForACertificate(t *testing.T) {
	ca := certs.NewCA(t, "ca")
	w := newWorld(ca.Pool())
	alice, bob := sent(ca.Client(t, "alice")), sent(ca.Client(t, "bob"))
	w.want(t, alice, "alice", 1)
	w.want(t, alice, "alice", 1)
	w.want(t, bob, "bob", 2)
	w.want(t, alice, "alice", 2)
	w.now = w.now.Add(ttl)
	w.want(t, alice, "alice", 3)
	w.want(t, nil, "", 3)
	w.want(t, &tls.ConnectionState{}, "", 3)
}

func TestNewRootsAreAskedAtOnce(t *testing.T) {
	ca, other := certs.NewCA(t, "ca"), certs.NewCA(t, "ca")
	w := newWorld(ca.Pool())
	alice := sent(ca.Client(t, "alice"))
	w.want(t, alice, "alice", 1)
	w.roots = other.Pool()
	w.want(t, alice, "", 2)
	w.want(t, alice, "", 3) // a refusal is not remembered
	w.roots = nil
	w.want(t, alice, "", 3)
	w.roots = ca.Pool()
	w.want(t, alice, "alice", 4)
}

func TestAnExpiredCertificateIsRefusedAtOnce(t *testing.T) {
	ca := certs.NewCA(t, "ca")
	w := newWorld(ca.Pool())
	alice := sent(ca.ClientUntil(t, w.now.Add(ttl/2), "alice"))
	w.want(t, alice, "alice", 1)
	w.want(t, alice, "alice", 1)
	w.now = w.now.Add(ttl/2 + time.Second)
	w.want(t, alice, "", 2)
}

// TestAnotherChainIsAnotherQuestion: what else the client sent decides whether its certificate has a chain.
func TestAnotherChainIsAnotherQuestion(t *testing.T) {
	ca := certs.NewCA(t, "ca")
	w := newWorld(ca.Pool())
	alice, bob := ca.Client(t, "alice"), ca.Client(t, "bob")
	w.want(t, sent(alice), "alice", 1)
	w.want(t, sent(alice, bob), "alice", 2)
	w.want(t, sent(bob, alice), "bob", 3)
}

func TestAFailureIsNotRemembered(t *testing.T) {
	ca := certs.NewCA(t, "ca")
	w := newWorld(ca.Pool())
	alice := sent(ca.Client(t, "alice"))
	w.fail = errors.New("failed")
	w.want(t, alice, "", 1)
	w.fail = nil
	w.want(t, alice, "alice", 2)
}

func BenchmarkAuthenticateRequest(b *testing.B) {
	ca := certs.NewCA(b, "ca")
	request := &http.Request{TLS: sent(ca.Client(b, "alice", "a", "b"))}
	options := x509.DefaultVerifyOptions()
	options.Roots = ca.Pool()
	verify := x509.StaticVerifierFn(options)
	upstream := x509.NewDynamic(verify, x509.CommonNameUserConversion)
	for name, authenticator := range map[string]authenticator.Request{"upstream": upstream,
		"remembered": Remember(verify, upstream)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if response, ok, err := authenticator.AuthenticateRequest(request); !ok ||
					response.User.(*user.DefaultInfo).Name != "alice" {
					b.Fatal(err)
				}
			}
		})
	}
}
