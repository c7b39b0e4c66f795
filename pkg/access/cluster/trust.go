// SPDX-License-Identifier: Apache-2.0

package cluster

import (
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

	"github.com/securevalue/secret-apiserver/pkg/access/clientcert"
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

// trust is what one version of the ConfigMap says. It never changes.
type trust struct {
	// clientCA signs client certificates. Nil: there are none.
	clientCA dynamiccertificates.CAContentProvider
	// proxyCA signs the front proxy's certificate. Nil: headers are not believed.
	proxyCA dynamiccertificates.CAContentProvider
	// proxy believes the headers of a front proxy. Nil: headers are not believed.
	proxy authenticator.Request
	// proxyFault says why headers are not believed.
	proxyFault error
	// headers are what the front proxy uses.
	headers headers
	// issuers are the keys of both CAs, and where the ConfigMap has them.
	issuers map[string]string
}

// headers are the names under which a front proxy passes on who the user is.
type headers struct {
	user, uid, group, extraPrefix []string
}

// parse reads the ConfigMap's data. An error means that it cannot be understood; proxyFault means that it can, and says
// that no front proxy may be believed.
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

// checkProxy says why no front proxy may be believed.
func (t *trust) checkProxy(names []string) error {
	switch {
	case t.proxyCA == nil:
		return errors.New(keyProxyCA + " is empty: kube-apiserver runs without an aggregation layer")
	case len(names) == 0:
		return errors.New(keyAllowedNames + " is empty: every certificate of the front-proxy CA could claim to be anybody, set --requestheader-allowed-names of kube-apiserver")
	case len(t.headers.user) == 0:
		return errors.New(keyUserHeaders + " is empty: no header names the user")
	}
	return nil
}

// newProxy believes the headers of whoever has a certificate of this CA with one of these names, which is not empty.
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
	certificate := clientcert.Remember(verify, x509.NewDynamicCAVerifier(verify, vouched{}, x509.StaticStringSlice(names)))
	return authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		if _, ok, err := certificate.AuthenticateRequest(req); !ok || err != nil {
			return nil, false, err
		}
		return user.AuthenticateRequest(req)
	}), nil
}

// vouched stands for a front proxy whose certificate was verified.
type vouched struct{}

// AuthenticateRequest implements authenticator.Request.
func (vouched) AuthenticateRequest(*http.Request) (*authenticator.Response, bool, error) {
	return &authenticator.Response{}, true, nil
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

// parseList reads a JSON list of strings and drops blank ones: a blank allowed name would match a certificate without a
// common name, a blank prefix every header.
func parseList(data map[string]string, key string) ([]string, error) {
	if strings.TrimSpace(data[key]) == "" {
		return nil, nil
	}
	var list []string
	if err := json.Unmarshal([]byte(data[key]), &list); err != nil {
		return nil, fmt.Errorf("%s is no JSON list of strings: %w", key, err)
	}
	return slices.DeleteFunc(list, func(s string) bool { return strings.TrimSpace(s) == "" }), nil
}
