// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
)

// attempts are one request for each verb, on the object "held". What writes is a dry run: permission comes first.
var attempts = map[string]func(context.Context, typedv1beta1.SecureValueInterface) error{
	"create": func(ctx context.Context, c typedv1beta1.SecureValueInterface) error {
		object, _ := newSecureValue("")
		object.GenerateName = "new-"
		_, err := c.Create(ctx, object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	},
	"get": func(ctx context.Context, c typedv1beta1.SecureValueInterface) error {
		_, err := c.Get(ctx, "held", metav1.GetOptions{})
		return err
	},
	"list": func(ctx context.Context, c typedv1beta1.SecureValueInterface) error {
		_, err := c.List(ctx, metav1.ListOptions{})
		return err
	},
	"watch": func(ctx context.Context, c typedv1beta1.SecureValueInterface) error {
		watcher, err := c.Watch(ctx, metav1.ListOptions{})
		if err == nil {
			watcher.Stop()
		}
		return err
	},
	"update": func(ctx context.Context, c typedv1beta1.SecureValueInterface) error {
		object, _ := newSecureValue("held")
		_, err := c.Update(ctx, object, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	},
	"patch": func(ctx context.Context, c typedv1beta1.SecureValueInterface) error {
		return patch(ctx, c, `{"metadata":{"labels":{"a":"b"}}}`)
	},
	"delete": func(ctx context.Context, c typedv1beta1.SecureValueInterface) error {
		return c.Delete(ctx, "held", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
	},
	"deletecollection": func(ctx context.Context, c typedv1beta1.SecureValueInterface) error {
		return c.DeleteCollection(ctx, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}, metav1.ListOptions{})
	},
	"extend": func(ctx context.Context, c typedv1beta1.SecureValueInterface) error {
		return patch(ctx, c, `{"spec":{"decrypters":["k6-cloud","synthetic-monitoring"]}}`)
	},
}

func patch(ctx context.Context, c typedv1beta1.SecureValueInterface, body string) error {
	_, err := c.Patch(ctx, "held", types.MergePatchType, []byte(body), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

var (
	reads   = []string{"get", "list", "watch"}
	changes = []string{"create", "update", "patch", "delete", "deletecollection"}
)

// TestRoles holds every shipped ClusterRole, and those of Kubernetes that they aggregate to, to exactly its verbs.
func TestRoles(t *testing.T) {
	namespace := newNamespace(t)
	create(t, namespace, "held")
	for account, want := range map[string]struct {
		role  string
		verbs []string
	}{
		"creator":  {"secret.grafana.app:securevalues-creator", []string{"create"}},
		"reader":   {"secret.grafana.app:securevalues-reader", reads},
		"writer":   {"secret.grafana.app:securevalues-writer", []string{"update", "patch"}},
		"deleter":  {"secret.grafana.app:securevalues-deleter", []string{"delete", "deletecollection"}},
		"admin":    {"secret.grafana.app:securevalues-admin", slices.Concat(reads, changes)},
		"viewers":  {"view", reads},
		"editors":  {"edit", slices.Concat(reads, changes)},
		"admins":   {"admin", slices.Concat(reads, changes)},
		"stranger": {"system:discovery", nil},
	} {
		t.Run(account, func(t *testing.T) {
			token := newServiceAccount(t, namespace, account)
			bind(t, namespace, account, "ClusterRole", want.role)
			for name, config := range ways(token) {
				expectVerbs(t, secureValues(t, config, namespace), name, want.verbs)
			}
		})
	}
}

// ways are the two ways of a ServiceAccount to us: through the aggregator, and straight to a replica, where nothing but
// our own authorization stands.
func ways(token string) map[string]*restclient.Config {
	all := map[string]*restclient.Config{"aggregator": cluster.TokenConfig(token), "direct": direct(token, 0)}
	for _, config := range all {
		config.QPS = -1
	}
	return all
}

// direct is the client configuration for one replica.
func direct(token string, replica int) *restclient.Config {
	return &restclient.Config{
		Host: server.Replicas[replica].URL, BearerToken: token, QPS: -1,
		TLSClientConfig: restclient.TLSClientConfig{CAData: server.CA.PEM()},
	}
}

// expectVerbs waits for the first verb, since a binding takes effect a moment after it was made.
func expectVerbs(t *testing.T, client typedv1beta1.SecureValueInterface, way string, allowed []string) {
	t.Helper()
	if len(allowed) > 0 {
		eventually(t, way+": "+allowed[0], func(ctx context.Context) error { return attempts[allowed[0]](ctx, client) })
	}
	for verb, attempt := range attempts {
		err := attempt(t.Context(), client)
		switch {
		case slices.Contains(allowed, verb) && err != nil:
			t.Errorf("%s: %s: %v", way, verb, err)
		case !slices.Contains(allowed, verb) && !apierrors.IsForbidden(err):
			t.Errorf("%s: %s: want it forbidden, got %v", way, verb, err)
		}
	}
}

// TestResourceNames shows that a rule may name single objects.
func TestResourceNames(t *testing.T) {
	namespace := newNamespace(t)
	create(t, namespace, "held")
	create(t, namespace, "other")
	token := newServiceAccount(t, namespace, "one")
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"secret.grafana.app"}, Resources: []string{"securevalues"}, Verbs: []string{"get"}, ResourceNames: []string{"held"},
	}}}
	if _, err := cluster.Admin.RbacV1().Roles(namespace).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bind(t, namespace, "one", "Role", "one")
	for way, config := range ways(token) {
		client := secureValues(t, config, namespace)
		eventually(t, way+": the one named", func(ctx context.Context) error { return attempts["get"](ctx, client) })
		if _, err := client.Get(t.Context(), "other", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s: another object: %v", way, err)
		}
		if _, err := client.List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s: the list: %v", way, err)
		}
	}
}

// TestRevocation takes rights away while they are in use. What --authorization-webhook-cache-authorized-ttl and
// --authentication-token-webhook-cache-ttl promise, 10 s each, shows in the log of the test.
func TestRevocation(t *testing.T) {
	for _, test := range []struct {
		name   string
		revoke func(t *testing.T, namespace, binding string) error
		want   func(error) bool
	}{
		{"binding removed", func(t *testing.T, namespace, binding string) error {
			t.Helper()
			return cluster.Admin.RbacV1().RoleBindings(namespace).Delete(t.Context(), binding, metav1.DeleteOptions{})
		}, apierrors.IsForbidden},
		{"account removed", func(t *testing.T, namespace, _ string) error {
			t.Helper()
			return cluster.Admin.CoreV1().ServiceAccounts(namespace).Delete(t.Context(), "account", metav1.DeleteOptions{})
		}, apierrors.IsUnauthorized},
	} {
		t.Run(test.name, func(t *testing.T) {
			namespace := newNamespace(t)
			create(t, namespace, "held")
			token := newServiceAccount(t, namespace, "account")
			binding := bind(t, namespace, "account", "ClusterRole", "secret.grafana.app:securevalues-reader")
			for way, config := range ways(token) {
				eventually(t, way+": before", func(ctx context.Context) error {
					return attempts["get"](ctx, secureValues(t, config, namespace))
				})
			}
			if err := test.revoke(t, namespace, binding.Name); err != nil {
				t.Fatal(err)
			}
			for way, config := range ways(token) {
				eventually(t, way+": refused", func(ctx context.Context) error {
					err := attempts["get"](ctx, secureValues(t, config, namespace))
					if test.want(err) {
						return nil
					}
					return fmt.Errorf("still %w", errors.Join(err, errors.New("answered")))
				})
			}
		})
	}
}

// TestWriterIsNoReader shows the rule that keeps write access from becoming read access, for the `edit` and `admin` of
// the cluster itself: neither holds what makes a reader of a value, nor can it give that to an account.
func TestWriterIsNoReader(t *testing.T) {
	for _, role := range []string{"edit", "admin"} {
		t.Run(role, func(t *testing.T) {
			namespace, service := newNamespace(t), newNamespace(t)
			create(t, namespace, "held")
			newServiceAccount(t, service, "k6")
			token := newServiceAccount(t, namespace, "owner")
			bind(t, namespace, "owner", "ClusterRole", role)
			client := secureValues(t, cluster.TokenConfig(token), namespace)
			eventually(t, role+" works", func(ctx context.Context) error { return attempts["patch"](ctx, client) })
			if err := attempts["extend"](t.Context(), client); !apierrors.IsForbidden(err) {
				t.Errorf("adding a decrypter without a value: %v", err)
			}
			makesNoReader(t, token, namespace, service)
			held, err := client.Get(t.Context(), "held", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			held.Spec.Decrypters = append(held.Spec.Decrypters, "synthetic-monitoring")
			held.Spec.Value = sensitive.New("a new value")
			if _, err := client.Update(t.Context(), held, metav1.UpdateOptions{}); err != nil {
				t.Errorf("adding a decrypter with a new value: %v", err)
			}
			bind(t, namespace, "owner", "ClusterRole", "secret.grafana.app:securevalues-extender")
			eventually(t, "extend by its own role", func(ctx context.Context) error {
				return patch(ctx, client, `{"spec":{"decrypters":["k6-cloud","provisioning.grafana.app","synthetic-monitoring"]}}`)
			})
		})
	}
}

// makesNoReader tries the ways from one namespace to a reader: a binding to what the caller does not hold, and the
// token of a service's account, which lives in another namespace.
func makesNoReader(t *testing.T, token, namespace, service string) {
	t.Helper()
	config := cluster.TokenConfig(token)
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"secret.grafana.app:securevalues-extender", k6Role} {
		_, err := clients.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "mine-"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "owner"}},
		}, metav1.CreateOptions{})
		if !apierrors.IsForbidden(err) {
			t.Errorf("binding %s: %v", role, err)
		}
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{decryptAudience}}}
	if _, err := clients.CoreV1().ServiceAccounts(service).CreateToken(t.Context(), "k6", request, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the token of an account in another namespace: %v", err)
	}
}
