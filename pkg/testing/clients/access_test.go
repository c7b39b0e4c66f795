// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	secretv1beta1 "github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// roles are the shipped ClusterRoles and what each may do, by the contract.
var roles = map[string][]string{
	"creator":  {"create"},
	"reader":   {"get", "list", "watch"},
	"writer":   {"update", "patch"},
	"deleter":  {"delete", "deletecollection"},
	"admin":    {"create", "get", "list", "watch", "update", "patch", "delete", "deletecollection"},
	"extender": {"extend"},
}

// accessNamespace is the only namespace in which the reader may read: it is bound there and not everywhere.
const accessNamespace = "team-red"

func roleToken(role string) string { return "token-of-user-" + role }

// access binds each shipped role to a user.
func access() harness.Options {
	options := harness.Options{Tokens: []string{harness.Token(roleToken("stranger"), "user-stranger")}}
	for role := range roles {
		namespace := ""
		if role == "reader" {
			namespace = accessNamespace
		}
		options = options.With("user-"+role, role, namespace)
	}
	return options.WithK6("")
}

func testAccess(t *testing.T, s *suite) {
	t.Helper()
	admin := s.person(t)
	admin.namespace = accessNamespace
	for role, verbs := range roles {
		t.Run(role, func(t *testing.T) {
			p := admin.in(t)
			p.token = roleToken(role)
			testCanI(p, verbs)
			testRequests(t, s, role, verbs)
		})
	}
	t.Run("stranger", func(t *testing.T) {
		p := admin.in(t)
		p.token = roleToken("stranger")
		contains(t, p.refused("", "get", "sv"), "(Forbidden)",
			`User "user-stranger" cannot list resource "securevalues"`, `in the namespace "team-red"`)
		equal(t, "whoami", p.must("", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"), "user-stranger")
	})
	t.Run("reader elsewhere", func(t *testing.T) {
		p := s.person(t)
		p.token = roleToken("reader")
		equal(t, "can-i elsewhere", p.kubectl("", "auth", "can-i", "list", "sv").out, "no\n")
		contains(t, p.refused("", "get", "sv", "-A"), "at the cluster scope")
	})
	t.Run("administrator of the decrypt port", func(t *testing.T) {
		for _, question := range [][]string{
			{"decrypt", "sv"}, {"decrypt", "sv/api-key"}, {"decrypt", "sv", "-A"},
			{"use", "decrypters.secret.grafana.app/k6-cloud"},
		} {
			a := admin.in(t).kubectl("", append([]string{"auth", "can-i"}, question...)...)
			if a.code != 1 || a.out != "no - the decrypt port removes group system:masters from a caller's groups\n" {
				t.Errorf("auth can-i %v: got %+v", question, a)
			}
		}
		a := admin.in(t).kubectl("", "auth", "can-i", "--list")
		contains(t, a.errs, "the list may be incomplete", "the decrypt port accepts only grants by name")
	})
	t.Run("unknown token", func(t *testing.T) {
		p := s.person(t)
		p.token = "nobody-has-this-token"
		contains(t, p.refused("", "get", "sv"), "(Unauthorized)")
	})
}

// testCanI asks for each verb by its name, and for the list of them.
func testCanI(p *person, verbs []string) {
	p.t.Helper()
	for _, verb := range slices.Concat(roles["admin"], roles["extender"]) {
		a := p.kubectl("", "auth", "can-i", verb, "securevalues.secret.grafana.app")
		out, code := "yes\n", 0
		if !slices.Contains(verbs, verb) {
			out, code = "no\n", 1
		}
		if a.out != out || a.code != code { // kubectl warns that it does not know the verb extend
			p.t.Errorf("auth can-i %s: got %+v, want %q and exit code %d", verb, a, out, code)
		}
	}
	var listed string
	for line := range strings.Lines(p.must("", "auth", "can-i", "--list")) {
		if strings.HasPrefix(line, "securevalues.secret.grafana.app") {
			listed = line[strings.LastIndex(line, "[")+1 : strings.LastIndex(line, "]")]
		}
	}
	equal(p.t, "auth can-i --list", listed, strings.Join(verbs, " "))
}

// testRequests sends a request for each verb and expects the answer that can-i promised.
func testRequests(t *testing.T, s *suite, role string, verbs []string) {
	t.Helper()
	for _, name := range []string{"one", "two"} {
		s.Create(t, accessNamespace, name, s.secret(), "k6-cloud")
	}
	values := s.typed(t, roleToken(role), "").SecureValues(accessNamespace)
	for _, verb := range []string{"create", "get", "list", "watch", "update", "patch", "delete", "deletecollection"} {
		err := request(t, s, values, verb)
		if allowed := slices.Contains(verbs, verb); allowed && err != nil || !allowed && !apierrors.IsForbidden(err) {
			t.Errorf("%s as %s: allowed is %v, got %v", verb, role, allowed, err)
		}
	}
	if err := s.typed(t, "", "").SecureValues(accessNamespace).DeleteCollection(t.Context(), metav1.DeleteOptions{},
		metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
}

// request sends the plainest request of a verb.
func request(t *testing.T, s *suite, values typedv1beta1.SecureValueInterface, verb string) error {
	t.Helper()
	ctx := t.Context()
	var err error
	switch verb {
	case "create":
		_, err = values.Create(ctx, newObject(s, "three"), metav1.CreateOptions{})
	case "get":
		_, err = values.Get(ctx, "one", metav1.GetOptions{})
	case "list":
		_, err = values.List(ctx, metav1.ListOptions{})
	case "watch":
		w, watchErr := values.Watch(ctx, metav1.ListOptions{})
		if watchErr == nil {
			w.Stop()
		}
		err = watchErr
	case "update":
		_, err = values.Update(ctx, newObject(s, "one"), metav1.UpdateOptions{})
	case "patch":
		_, err = values.Patch(ctx, "one", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`),
			metav1.PatchOptions{})
	case "delete":
		err = values.Delete(ctx, "one", metav1.DeleteOptions{})
	case "deletecollection":
		err = values.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	}
	return err
}

// newObject is a SecureValue as a program makes it.
func newObject(s *suite, name string) *secretv1beta1.SecureValue {
	return harness.NewValue(name, s.secret(), "k6-cloud")
}
