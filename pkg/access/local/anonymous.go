// SPDX-License-Identifier: Apache-2.0

package local

import (
	"fmt"
	"net/http"
	"path"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	unionrequest "k8s.io/apiserver/pkg/authentication/request/union"
)

// DefaultAnonymousPaths returns the paths that answer without credentials, for probes of kubelets and load balancers.
func DefaultAnonymousPaths() []string {
	return []string{"/livez", "/readyz", "/healthz"}
}

// IsHealthPath reports whether a path is one of DefaultAnonymousPaths or below one.
func IsHealthPath(requested string) bool { return covers(DefaultAnonymousPaths(), requested) }

// WithAnonymous lets requests without credentials in on the paths and below them. Wrong credentials are refused
// everywhere: they never become anonymous.
func WithAnonymous(credentials authenticator.Request, paths []string) (authenticator.Request, error) {
	anonymous, err := newAnonymousOn(paths)
	if err != nil {
		return nil, err
	}
	return unionrequest.NewFailOnError(credentials, anonymous), nil
}

// anonymousOn lets a request without credentials be system:anonymous on the paths and below them. Upstream's conditions
// are exact paths only, and the single checks (/readyz/etcd) are not known here.
type anonymousOn struct {
	paths []string
	next  authenticator.Request
}

var _ authenticator.Request = &anonymousOn{}

func newAnonymousOn(paths []string) (*anonymousOn, error) {
	for _, p := range paths {
		if !strings.HasPrefix(p, "/") || p == "/" || path.Clean(p) != p {
			return nil, fmt.Errorf("anonymous path %q must be absolute, below / and without a trailing slash", p)
		}
	}
	return &anonymousOn{paths: paths, next: anonymous.NewAuthenticator(nil)}, nil
}

// AuthenticateRequest implements authenticator.Request.
func (a *anonymousOn) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	if !covers(a.paths, req.URL.Path) {
		return nil, false, nil
	}
	return a.next.AuthenticateRequest(req)
}

// covers refuses a path that is not clean, so /livez/../apis is not below /livez.
func covers(paths []string, requested string) bool {
	if path.Clean(requested) != strings.TrimSuffix(requested, "/") {
		return false
	}
	for _, p := range paths {
		if requested == p || strings.HasPrefix(requested, p+"/") {
			return true
		}
	}
	return false
}
