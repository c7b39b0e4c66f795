// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

// writeCA writes a bundle as --decrypt-client-ca-file names it.
func writeCA(t *testing.T, path string, cas ...*certs.CA) {
	t.Helper()
	var bundle strings.Builder
	for _, ca := range cas {
		bundle.WriteString(ca.PEM())
	}
	if err := os.WriteFile(path, []byte(bundle.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newServices is a world with a CA for services.
func newServices(t *testing.T, cas ...*certs.CA) (w *world, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "services.crt")
	writeCA(t, file, cas...)
	return newWorld(t, func(c *AuthenticationConfig) { c.ServiceCAFile = file }), file
}

// A CA for services makes certificates count on the decrypt port, those of that CA and no others, and on no other port.
func TestServiceCA(t *testing.T) {
	t.Parallel()
	services := certs.NewCA(t, "services")
	w, _ := newServices(t, services)
	w.api.SetToken(kubeapi.JWT("ours", audience), kubeapi.Token{User: "ours", Audiences: []string{audience}})
	api, decrypt := w.listen(t, w.authn.Request()), w.listen(t, w.authn.Credentials())
	for name, test := range map[string]struct {
		certificate  tls.Certificate
		api, decrypt string
	}{
		"a service":                    {services.Client(t, "k6", "system:masters"), "", "k6"},
		"a service of a sub-CA":        {services.SubCA(t, "team").Client(t, "k6"), "", "k6"},
		"a person":                     {w.clientCA.Client(t, "bob", "kubeadm:cluster-admins"), "bob", ""},
		"a person by a sub-CA":         {w.clientCA.SubCA(t, "services").Client(t, "bob"), "bob", ""},
		"the front proxy":              {w.proxyCA.Client(t, frontProxy), "ann", ""},
		"a CA of the same name":        {certs.NewCA(t, "services").Client(t, "k6"), "", ""},
		"a service without a name":     {services.Client(t, ""), "", ""},
		"a service named as the proxy": {services.Client(t, frontProxy), "", frontProxy},
	} {
		t.Run(name, func(t *testing.T) {
			wantUser(t, api, call{certificate: &test.certificate, header: remote("ann")}, test.api)
			wantUser(t, decrypt, call{certificate: &test.certificate, header: remote("ann")}, test.decrypt)
		})
	}
	wantUser(t, decrypt, call{token: kubeapi.JWT("ours", audience)}, "ours")
	if w.authn.ServiceCA() == nil || !slices.Equal(w.authn.ServiceCA().CurrentCABundleContent(),
		[]byte(services.PEM())) {
		t.Error("clients are not asked for certificates of services")
	}
}

// A root above the cluster's CA vouches for people too: its chains that lead over that CA do not count.
func TestServiceCAAboveTheCluster(t *testing.T) {
	t.Parallel()
	root := certs.NewCA(t, "root")
	w, _ := newServices(t, root)
	w.clientCA = root.SubCA(t, "client-ca")
	person, service := w.clientCA.Client(t, "bob"), root.SubCA(t, "services").Client(t, "k6")
	api, decrypt := w.listen(t, w.authn.Request()), w.listen(t, w.authn.Credentials())
	w.api.SetConfigMap(t, w.data(nil))
	eventually(t, "the sub-CA is the cluster's", func() bool {
		got, _ := call{certificate: &person}.do(t, api)
		return got != nil
	})
	wantUser(t, decrypt, call{certificate: &person}, "")
	wantUser(t, decrypt, call{certificate: &service}, "k6")
}

// The cluster's own CAs are refused at start, under whatever certificate and beside whichever other.
func TestServiceCAIsTheClusters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	services := certs.NewCA(t, "services")
	for name, test := range map[string]struct {
		bundle []*certs.CA
		want   string
	}{
		"client CA": {
			[]*certs.CA{w.clientCA}, `"CN=client-ca" is a CA of the cluster (client-ca-file in ConfigMap kube-system/` +
				configMap + ")",
		},
		"client CA, renewed": {
			[]*certs.CA{w.clientCA.Renewed(t, "services")}, `"CN=services" is a CA of the cluster (client-ca-file`,
		},
		"client CA, one more": {
			[]*certs.CA{services, w.clientCA}, "use a CA that signs for services only, or omit the flag and " +
				"use tokens",
		},
		"front-proxy CA": {[]*certs.CA{w.proxyCA}, "(requestheader-client-ca-file in"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ca.crt")
			writeCA(t, file, test.bundle...)
			_, err := NewAuthenticator(t.Context(),
				AuthenticationConfig{Client: w.api.Client(t), Audience: audience, ServiceCAFile: file})
			if err == nil || !strings.Contains(err.Error(), test.want) ||
				!strings.HasPrefix(err.Error(), "--decrypt-client-ca-file ") {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	_, err := NewAuthenticator(t.Context(), AuthenticationConfig{Client: w.api.Client(t), ServiceCAFile: "none"})
	if err == nil || !strings.Contains(err.Error(), "open none") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// The file is reloaded, for resumed sessions too; one that names the cluster's CA changes nothing; and a CA that
// becomes the cluster's counts no more. Not parallel: it reads the metrics of the whole process.
func TestServiceCAReload(t *testing.T) {
	services := certs.NewCA(t, "services")
	w, file := newServices(t, services)
	server := w.listen(t, w.authn.Credentials())
	first := services.Client(t, "k6")
	resumed := call{certificate: &first, sessions: tls.NewLRUClientSessionCache(1)}
	wantUser(t, server, resumed, "k6")
	writeCA(t, file, w.clientCA)
	failed := func() bool {
		return strings.Contains(gathered(t), `last_reload_successful{source="decrypt-client-ca-file"} 0`)
	}
	eventually(t, "the cluster's CA was refused", failed)
	wantUser(t, server, resumed, "k6")
	person := w.clientCA.Client(t, "bob")
	wantUser(t, server, call{certificate: &person}, "")

	services = certs.NewCA(t, "services")
	writeCA(t, file, services)
	second := services.Client(t, "k6")
	eventually(t, "the new CA counts", func() bool {
		got, _ := call{certificate: &second}.do(t, server)
		return got != nil
	})
	got, state := resumed.do(t, server)
	if got != nil || !state.DidResume {
		t.Errorf("under a CA that is gone: %v, resumed %t", got, state.DidResume)
	}
	eventually(t, "the reload is well", func() bool { return !failed() })

	w.clientCA = services
	w.api.SetConfigMap(t, w.data(nil))
	eventually(t, "the CA became the cluster's", failed)
	third := services.Client(t, "k6")
	wantUser(t, server, call{certificate: &third}, "")
}

// gathered are the metrics of this process, a line each.
func gathered(t *testing.T) string {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				_, _ = fmt.Fprintf(&text, "%s{%s=%q} %g\n",
					family.GetName(), label.GetName(), label.GetValue(), metric.GetGauge().GetValue())
			}
		}
	}
	return text.String()
}
