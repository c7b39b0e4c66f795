// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
)

func TestParse(t *testing.T) {
	t.Parallel()
	w := &world{proxyCA: certs.NewCA(t, "front-proxy-ca"), clientCA: certs.NewCA(t, "client-ca")}
	two := w.proxyCA.PEM() + certs.NewCA(t, "front-proxy-ca-2").PEM()
	for name, test := range map[string]struct {
		change map[string]string
		err    string // cannot be understood
		fault  string // no front proxy may be believed
	}{
		"as kube-apiserver writes it":    {},
		"two CAs, as while rotating":     {change: map[string]string{keyProxyCA: two}},
		"no client CA":                   {change: map[string]string{keyClientCA: ""}},
		"no UID header, as before 1.32":  {change: map[string]string{keyUIDHeaders: ""}},
		"a blank name beside a real one": {change: map[string]string{keyAllowedNames: `["", "a"]`}},
		"no name": {change: map[string]string{keyAllowedNames: "[]"}, fault: keyAllowedNames +
			" is empty"},
		"null for the names": {change: map[string]string{keyAllowedNames: "null"}, fault: keyAllowedNames +
			" is empty"},
		"blank names": {change: map[string]string{keyAllowedNames: `["", "\t"]`},
			fault: keyAllowedNames + " is empty"},
		"no front-proxy CA": {change: map[string]string{keyProxyCA: " \n"}, fault: keyProxyCA +
			" is empty"},
		"no user header": {change: map[string]string{keyUserHeaders: "[]"}, fault: keyUserHeaders +
			" is empty"},
		"names: a string": {change: map[string]string{keyAllowedNames: `"a"`}, err: keyAllowedNames +
			" is not a JSON list of strings"},
		"names: numbers":           {change: map[string]string{keyAllowedNames: `[1]`}, err: keyAllowedNames},
		"names: cut short":         {change: map[string]string{keyAllowedNames: `["a`}, err: keyAllowedNames},
		"group headers: an object": {change: map[string]string{keyGroupHeaders: `{}`}, err: keyGroupHeaders},
		"front-proxy CA: no PEM":   {change: map[string]string{keyProxyCA: "x"}, err: keyProxyCA},
		"front-proxy CA: a broken PEM": {change: map[string]string{keyProxyCA: strings.Replace(w.proxyCA.PEM(), "MII",
			"XXX", 1)}, err: keyProxyCA},
		"client CA: good and broken": {change: map[string]string{keyClientCA: w.clientCA.PEM() +
			strings.Replace(w.clientCA.PEM(), "MII", "XXX", 1)}, err: keyClientCA},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(w.data(test.change))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if fault := got.proxyFault; (fault != nil) != (test.fault != "") || fault != nil &&
				!strings.Contains(fault.Error(), test.fault) {
				t.Errorf("fault %v, want %q", fault, test.fault)
			}
			if believed := got.proxy != nil; believed != (test.fault == "") || believed != (got.proxyCA != nil) {
				t.Errorf("headers are believed: %t, CA: %v", believed, got.proxyCA)
			}
		})
	}
}

// A blank prefix would take every header for the user's extra fields.
func TestBlankPrefix(t *testing.T) {
	t.Parallel()
	w := &world{proxyCA: certs.NewCA(t, "front-proxy-ca"), clientCA: certs.NewCA(t, "client-ca")}
	got, err := parse(w.data(map[string]string{keyExtraPrefixes: `["", "X-Remote-Extra-"]`}))
	if err != nil || !slices.Equal(got.headers.extraPrefix, []string{"X-Remote-Extra-"}) {
		t.Errorf("prefixes %q, error %v", got.headers.extraPrefix, err)
	}
}

// A version that cannot be understood changes nothing, a deleted ConfigMap neither, and the next good one counts.
func TestFaultyVersionKeepsTheLastGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.listen(t, w.authn.Request())
	proxy := w.proxyCA.Client(t, frontProxy)
	for name, change := range map[string]map[string]string{
		"names": {keyAllowedNames: "["}, "proxy CA": {keyProxyCA: "x"},
		"client CA": {keyClientCA: "x", keyAllowedNames: `["somebody"]`},
	} {
		data := w.data(change)
		w.api.SetConfigMap(t, data)
		eventually(t, name+" was looked at", func() bool {
			w.authn.source.mu.Lock()
			defer w.authn.source.mu.Unlock()
			return maps.Equal(w.authn.source.applied, data)
		})
		wantUser(t, server, call{certificate: &proxy, header: remote("ann")}, "ann")
	}
	w.api.Delete(t, "configmaps", namespace, configMap)
	w.clientCA = certs.NewCA(t, "client-ca-2")
	bob := w.clientCA.Client(t, "bob")
	wantUser(t, server, call{certificate: &proxy, header: remote("ann")}, "ann")
	w.api.SetConfigMap(t, w.data(nil))
	eventually(t, "the next version counts", func() bool {
		got, _ := call{certificate: &bob}.do(t, server)
		return got != nil
	})
	wantUser(t, server, call{certificate: &proxy, header: remote("ann")}, "ann")
}
