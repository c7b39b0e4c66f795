// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto/tls"
	"net/http"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
)

// Clients other than the front proxy may send any header.
func TestIncident08ForgedHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.listen(t, w.authn.Request())
	forged := remote("admin", user.SystemPrivilegedGroup)
	otherName, client, foreign := w.proxyCA.Client(t, "somebody"), w.clientCA.Client(t, "bob", "devs"),
		certs.NewCA(t, "front-proxy-ca").Client(t, frontProxy)
	clientNamedProxy := w.clientCA.Client(t, frontProxy)
	nameless := w.proxyCA.Client(t, "")
	for name, test := range map[string]struct {
		certificate *tls.Certificate
		want        string
	}{
		"no certificate":                    {nil, ""},
		"front-proxy CA, another name":      {&otherName, ""},
		"front-proxy CA, no name":           {&nameless, ""},
		"a CA of the same name":             {&foreign, ""},
		"client CA":                         {&client, "bob"},
		"client CA, the front proxy's name": {&clientNamedProxy, frontProxy},
	} {
		t.Run(name, func(t *testing.T) {
			for _, header := range []http.Header{
				forged, {"x-remote-user": {"admin"}},
				{"X-REMOTE-USER": {"admin"}, "X-Remote-Group": {"system:masters"}},
				{"X-Remote-User": {"bob", "admin"}},
				{"X-Remote-Extra-Scopes": {"all"}, "X-Remote-User": {"admin"}, "X-Remote-Uid": {"0"}},
			} {
				got, _ := call{certificate: test.certificate, header: header}.do(t, server)
				if got == nil {
					if test.want != "" {
						t.Errorf("%v: refused, want %s", header, test.want)
					}
					continue
				}
				if got.Name != test.want || slices.Contains(got.Groups, user.SystemPrivilegedGroup) ||
					got.Extra["scopes"] != nil {
					t.Errorf("%v: is %+v, want %q", header, got, test.want)
				}
				wantNoRemote(t, got)
			}
		})
	}
}

// wantNoRemote wants handlers to see nothing of the front proxy's headers, nor the token.
func wantNoRemote(t *testing.T, got *who) {
	t.Helper()
	for name := range got.Header {
		if strings.HasPrefix(strings.ToLower(name), "x-remote-") || name == "Authorization" {
			t.Errorf("a handler sees header %s", name)
		}
	}
}

// Who kube-apiserver says it is, with all that it says of them.
func TestFrontProxyIsBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.listen(t, w.authn.Request())
	proxy := w.proxyCA.Client(t, frontProxy)
	header := remote("ann", "devs", "ops")
	header["X-Remote-Uid"], header["X-Remote-Extra-Scopes"] = []string{"42"}, []string{"a", "b"}
	got, _ := call{certificate: &proxy, header: header}.do(t, server)
	if got == nil {
		t.Fatal("refused")
	}
	wantNoRemote(t, got)
	slices.Sort(got.Groups)
	if got.Name != "ann" || got.UID != "42" || !slices.Equal(got.Extra["scopes"], []string{"a", "b"}) ||
		!slices.Equal(got.Groups, []string{"devs", "ops", user.AllAuthenticated}) {
		t.Errorf("is %+v", got)
	}
	wantUser(t, server, call{certificate: &proxy}, "") // a front proxy that names nobody is nobody
}

// An empty list of allowed names means "any certificate" to upstream.
func TestAllowedNamesEmptied(t *testing.T) {
	t.Parallel()
	for name, emptied := range map[string]string{"no list": "", "empty list": "[]", "blank name": `[""]`} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			server := w.listen(t, w.authn.Request())
			proxy, other := w.proxyCA.Client(t, frontProxy), w.proxyCA.Client(t, "somebody")
			wantUser(t, server, call{certificate: &proxy, header: remote("ann")}, "ann")
			w.api.SetConfigMap(t, w.data(map[string]string{keyAllowedNames: emptied}))
			eventually(t, "the front proxy is not believed any more", func() bool {
				got, _ := call{certificate: &proxy, header: remote("ann")}.do(t, server)
				return got == nil
			})
			wantUser(t, server, call{certificate: &other, header: remote("ann")}, "")
			w.api.SetConfigMap(t, w.data(nil))
			eventually(t, "it is believed again", func() bool {
				got, _ := call{certificate: &proxy, header: remote("ann")}.do(t, server)
				return got != nil
			})
		})
	}
}

// TLS remembers a certificate in a session ticket; a CA that is gone must not live on in one (CVE-2025-68121), nor in a
// connection that is open.
func TestResumedSessionAfterCARemoval(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			w := newWorld(t)
			server := w.listen(t, w.authn.Request())
			server.TLS.MaxVersion = version
			proxy, bob := w.proxyCA.Client(t, frontProxy), w.clientCA.Client(t, "bob")
			asProxy := call{certificate: &proxy, header: remote("ann"), sessions: tls.NewLRUClientSessionCache(1)}
			asBob := call{certificate: &bob, sessions: tls.NewLRUClientSessionCache(1)}
			wantUser(t, server, asProxy, "ann")
			wantUser(t, server, asBob, "bob")
			w.proxyCA, w.clientCA = certs.NewCA(t, "front-proxy-ca-2"), certs.NewCA(t, "client-ca-2")
			w.api.SetConfigMap(t, w.data(nil))
			next := w.proxyCA.Client(t, frontProxy)
			eventually(t, "the new CA counts", func() bool {
				got, _ := call{certificate: &next, header: remote("ann")}.do(t, server)
				return got != nil
			})
			for name, c := range map[string]call{"proxy": asProxy, "bob": asBob} {
				got, state := c.do(t, server)
				if !state.DidResume {
					t.Errorf("%s: the session was not resumed, so this shows nothing", name)
				}
				if got != nil {
					t.Errorf("%s: is %s on a resumed session, want a refusal", name, got.Name)
				}
			}
		})
	}
}

// The decrypt port has no front proxy before it, nobody on it is anonymous, and a certificate of the cluster is the
// kubeconfig of a person.
func TestCredentialsBelieveNoHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if w.authn.ServiceCA() != nil {
		t.Error("clients are asked for certificates")
	}
	server := w.listen(t, w.authn.Credentials())
	proxy, bob := w.proxyCA.Client(t, frontProxy), w.clientCA.Client(t, "bob")
	admin := w.clientCA.Client(t, "admin", "kubeadm:cluster-admins")
	wantUser(t, server, call{certificate: &proxy, header: remote("ann")}, "")
	wantUser(t, server, call{certificate: &bob, header: remote("ann")}, "")
	wantUser(t, server, call{certificate: &admin}, "")
	wantUser(t, server, call{path: "/livez"}, "")
	wantUser(t, server, call{}, "")
}
