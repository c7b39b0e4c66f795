// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	stdx509 "crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/util/cert"

	"github.com/securevalue/secret-apiserver/pkg/access/local"
)

// The keys of the ConfigMap.
const (
	keyClientCA      = "client-ca-file"
	keyProxyCA       = "requestheader-client-ca-file"
	keyAllowedNames  = "requestheader-allowed-names"
	keyUserHeaders   = "requestheader-username-headers"
	keyUIDHeaders    = "requestheader-uid-headers"
	keyGroupHeaders  = "requestheader-group-headers"
	keyExtraPrefixes = "requestheader-extra-headers-prefix"
)

// trust is the content of one version of the ConfigMap. It never changes.
type trust struct {
	// clientCA signs client certificates. Nil: there is none.
	clientCA dynamiccertificates.CAContentProvider
	// proxyCA signs the front proxy's certificate. Nil: headers are not accepted.
	proxyCA dynamiccertificates.CAContentProvider
	// proxy authenticates by the headers of a front proxy. Nil: headers are not accepted.
	proxy authenticator.Request
	// proxyFault is why headers are not accepted.
	proxyFault error
	headers    headers
	// issuers maps the public keys of both CAs to their keys in the ConfigMap.
	issuers map[string]string
}

// headers are the names of the headers in which a front proxy sends the user.
type headers struct {
	user, uid, group, extraPrefix []string
}

// parse parses the ConfigMap's data. An error means that it is invalid; proxyFault means that it is valid and allows no
// front proxy.
func parse(data map[string]string) (*trust, error) {
	var t trust
	var err error
	t.issuers = map[string]string{}
	if t.clientCA, err = t.parseCA(data, keyClientCA); err != nil {
		return nil, err
	}
	if t.proxyCA, err = t.parseCA(data, keyProxyCA); err != nil {
		return nil, err
	}
	names, err := parseList(data, keyAllowedNames)
	if err != nil {
		return nil, err
	}
	if t.headers, err = parseHeaders(data); err != nil {
		return nil, err
	}
	if t.proxyFault = t.checkProxy(names); t.proxyFault == nil {
		t.proxy, err = newProxy(t.proxyCA, names, t.headers)
		return &t, err
	}
	t.proxyCA = nil
	return &t, err
}

// checkProxy returns why no front proxy is allowed.
func (t *trust) checkProxy(names []string) error {
	switch {
	case t.proxyCA == nil:
		return errors.New(keyProxyCA + " is empty: kube-apiserver runs without an aggregation layer")
	case len(names) == 0:
		return errors.New(keyAllowedNames + " is empty: every certificate of the front-proxy CA could claim to be " +
			"anybody, set --requestheader-allowed-names of kube-apiserver")
	case len(t.headers.user) == 0:
		return errors.New(keyUserHeaders + " is empty: no header names the user")
	}
	return nil
}

// newProxy accepts the headers of clients with a certificate of this CA and one of these names, which are not empty.
func newProxy(ca dynamiccertificates.CAContentProvider, names []string, h headers) (authenticator.Request, error) {
	options, ok := ca.VerifyOptions()
	if !ok {
		return nil, fmt.Errorf("%s cannot verify anything", keyProxyCA)
	}
	user, err := headerrequest.New(h.user, h.uid, h.group, h.extraPrefix)
	if err != nil {
		return nil, err
	}
	verify := x509.StaticVerifierFn(options)
	verified := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{}, true, nil
	})
	certificate := local.Remember(verify, x509.NewDynamicCAVerifier(verify, verified, x509.StaticStringSlice(names)))
	return authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		if _, ok, err := certificate.AuthenticateRequest(req); !ok || err != nil {
			return nil, false, err
		}
		return user.AuthenticateRequest(req)
	}), nil
}

func (t *trust) parseCA(data map[string]string, key string) (dynamiccertificates.CAContentProvider, error) {
	pem := strings.TrimSpace(data[key])
	if pem == "" {
		return nil, nil //nolint:nilnil // no such CA
	}
	ca, err := dynamiccertificates.NewStaticCAContent(configMap+"::"+key, []byte(pem))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	certificates, err := cert.ParseCertsPEM([]byte(pem))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	for _, certificate := range certificates {
		t.issuers[string(certificate.RawSubjectPublicKeyInfo)] = key
	}
	return ca, nil
}

func parseHeaders(data map[string]string) (headers, error) {
	var h headers
	var err error
	for key, list := range map[string]*[]string{
		keyUserHeaders: &h.user, keyUIDHeaders: &h.uid, keyGroupHeaders: &h.group, keyExtraPrefixes: &h.extraPrefix,
	} {
		if *list, err = parseList(data, key); err != nil {
			return headers{}, err
		}
	}
	return h, nil
}

// parseList parses a JSON list of strings and drops blank ones: a blank allowed name would match a certificate without
// a common name, a blank prefix every header.
func parseList(data map[string]string, key string) ([]string, error) {
	if strings.TrimSpace(data[key]) == "" {
		return nil, nil
	}
	var list []string
	if err := json.Unmarshal([]byte(data[key]), &list); err != nil {
		return nil, fmt.Errorf("%s is not a JSON list of strings: %w", key, err)
	}
	return slices.DeleteFunc(list, func(s string) bool { return strings.TrimSpace(s) == "" }), nil
}

// currentCA is one CA of the current trust.
type currentCA struct {
	source *source
	key    string
	pick   func(*trust) dynamiccertificates.CAContentProvider
}

var _ dynamiccertificates.CAContentProvider = &currentCA{}

// Name implements dynamiccertificates.CAContentProvider.
func (c *currentCA) Name() string { return configMap + "::" + c.key }

// CurrentCABundleContent implements dynamiccertificates.CAContentProvider.
func (c *currentCA) CurrentCABundleContent() []byte {
	if ca := c.pick(c.source.load()); ca != nil {
		return ca.CurrentCABundleContent()
	}
	return nil
}

// VerifyOptions implements dynamiccertificates.CAContentProvider.
func (c *currentCA) VerifyOptions() (stdx509.VerifyOptions, bool) {
	if ca := c.pick(c.source.load()); ca != nil {
		return ca.VerifyOptions()
	}
	return stdx509.VerifyOptions{}, false
}

// AddListener implements dynamiccertificates.Notifier.
func (c *currentCA) AddListener(listener dynamiccertificates.Listener) {
	c.source.addListener(listener)
}
