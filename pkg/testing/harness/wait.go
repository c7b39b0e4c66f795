// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds a wait on a busy machine. The longest period that a test waits for is a minute.
const patience = 150 * time.Second

// Eventually waits until done returns true and fails the test when that takes too long.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("timed out waiting until %s", what)
}

// Wait returns how the server ended, nil for exit code 0, once it has. It fails the test when that takes too long.
func (s *Server) Wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-s.exited:
		return err
	case <-time.After(stopTimeout):
		t.Fatalf("the server did not end within %s", stopTimeout)
		return nil
	}
}

// Listen listens on a free port of loopback until the test ends.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// FreeAddress returns an address of loopback that nothing listens on, for a server that keeps it over restarts.
func FreeAddress(t testing.TB) string {
	t.Helper()
	listener := Listen(t)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

// HangUp takes connections in the place of a server that has ended, closes them, and counts them until stop.
func HangUp(t testing.TB, serverURL string) (taken *atomic.Int64, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", strings.TrimPrefix(serverURL, "https://")) //nolint:noctx // returns at once
	if err != nil {
		t.Fatal(err)
	}
	taken = &atomic.Int64{}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			taken.Add(1)
			_ = connection.Close()
		}
	}()
	return taken, func() { _ = listener.Close() }
}

// FreePort returns the port of such an address.
func FreePort(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// The shipped file and role of the decrypter k6-cloud, for Options.RBACFiles and Grant, and the token of its user.
const (
	K6File  = "config/rbac/decrypter-k6-cloud.yaml"
	K6Role  = "secret.grafana.app:decrypter-k6-cloud"
	K6Token = "token-of-k6"
)

// WithK6 adds user k6, who decrypts what lists k6-cloud in a namespace.
func (o Options) WithK6(namespace string) Options {
	return o.With("k6", "decrypter-k6-cloud", namespace)
}

// With adds a user, whose token is "token-of-" and its name, and binds a role of config/rbac to it: in all namespaces
// when namespace is "".
func (o Options) With(user, role, namespace string) Options {
	file, name := "config/rbac/clusterrole-"+role+".yaml", "secret.grafana.app:securevalues-"+role
	if strings.HasPrefix(role, "decrypter-") {
		file, name = "config/rbac/"+role+".yaml", "secret.grafana.app:"+role
	}
	if token := Token("token-of-"+user, user); !slices.Contains(o.Tokens, token) {
		o.Tokens = append(o.Tokens, token)
	}
	o.RBAC, o.RBACFiles = append(o.RBAC, Grant(user, name, namespace)), append(o.RBACFiles, file)
	return o
}

const rbacVersion = "---\napiVersion: rbac.authorization.k8s.io/v1\n"

// Grant is a manifest that binds a ClusterRole to a user, or to a group when user starts with "group/", in all
// namespaces when namespace is "". Manifests can be concatenated.
func Grant(user, role, namespace string) string {
	kind, where, subject := "ClusterRoleBinding", "", "User"
	if namespace != "" {
		kind, where = "RoleBinding", ", namespace: "+namespace
	}
	name := strings.ReplaceAll(user, "/", ":") + "-" + role
	if group, ok := strings.CutPrefix(user, "group/"); ok {
		subject, user = "Group", group
	}
	return rbacVersion + fmt.Sprintf(`kind: %s
metadata: {name: %q%s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %q}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: %s, name: %q}]
`, kind, name, where, role, subject, user)
}

// ClusterRole is the manifest of a role with rules as Rule returns them, or written by hand.
func ClusterRole(name string, rules ...string) string {
	return rbacVersion + fmt.Sprintf("kind: ClusterRole\nmetadata: {name: %q}\nrules: [%s]\n", name, strings.Join(rules, ", "))
}

// Rule allows verbs, separated by commas, on a resource of secret.grafana.app; on all objects, or on those with these
// names.
func Rule(verbs, resource string, names ...string) string {
	limit := ""
	if len(names) > 0 {
		limit = ", resourceNames: [" + strings.Join(names, ", ") + "]"
	}
	return fmt.Sprintf("{apiGroups: [secret.grafana.app], resources: [%s], verbs: [%s]%s}", resource, verbs, limit)
}
