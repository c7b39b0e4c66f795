// SPDX-License-Identifier: Apache-2.0

package aggregated

import (
	"fmt"
	"net/http"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// remote are the headers that kube-apiserver passes a user on in.
func remote(user string, groups ...string) http.Header {
	return http.Header{"X-Remote-User": {user}, "X-Remote-Group": append([]string{"system:authenticated"}, groups...)}
}

// allowUsers lets users do everything to securevalues.
func allowUsers(users ...string) func(authorizationv1.SubjectAccessReviewSpec) bool {
	return func(review authorizationv1.SubjectAccessReviewSpec) bool {
		for _, user := range users {
			if review.User == user && review.ResourceAttributes != nil && review.ResourceAttributes.Resource == "securevalues" {
				return true
			}
		}
		return false
	}
}

// body is a SecureValue as JSON.
func body(name, value string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"description":"test","value":%q}}`, name, value)
}

// create sends a value as a user whom kube-apiserver passes on.
func create(t *testing.T, proxy *harness.Server, name, value string, as http.Header) harness.Response {
	t.Helper()
	return proxy.Do(t, harness.Request{
		Method: http.MethodPost, Path: harness.Collection("default"), Header: as, Body: body(name, value),
	})
}

// list asks for the values of a namespace and returns the status code.
func list(t *testing.T, s *harness.Server, token string, as http.Header) int {
	t.Helper()
	return s.Do(t, harness.Request{Method: http.MethodGet, Path: harness.Collection("default"), Token: token, Header: as}).Code
}
