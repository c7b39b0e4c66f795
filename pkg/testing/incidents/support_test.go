// SPDX-License-Identifier: Apache-2.0

package incidents

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	k6Token     = "token-of-k6"
	writerToken = "token-of-writer"
	readerToken = "token-of-reader"
	getterToken = "token-of-getter"
)

const (
	jsonType  = "application/json"
	mergeType = "application/merge-patch+json"
	patchType = "application/json-patch+json"
	applyType = "application/apply-patch+yaml"
)

// bindings: k6 decrypts in default, writer may create and write but not extend, reader reads, getter sees one object.
const bindings = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: k6, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'secret.grafana.app:decrypter-k6-cloud'}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: k6}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: writer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'secret.grafana.app:securevalues-writer'}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: writer}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'secret.grafana.app:securevalues-reader'}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: getter, namespace: default}
rules: [{apiGroups: [secret.grafana.app], resources: [securevalues], verbs: [get], resourceNames: [a]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: getter, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: getter}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: getter}]
`

// access are the options of a server with the users above.
func access(args ...string) harness.Options {
	return harness.Options{
		Tokens: []string{
			harness.Token(k6Token, "k6"), harness.Token(writerToken, "writer"),
			harness.Token(readerToken, "reader"), harness.Token(getterToken, "getter"),
		},
		RBAC: []string{bindings},
		RBACFiles: []string{
			"config/rbac/decrypter-k6-cloud.yaml", "config/rbac/clusterrole-writer.yaml",
			"config/rbac/clusterrole-reader.yaml",
		},
		Args: args,
	}
}

func start(t *testing.T, args ...string) *harness.Server {
	t.Helper()
	return harness.Start(t, access(args...))
}

// put stores a value as the admin.
func put(t *testing.T, s *harness.Server, namespace, name, value string, decrypters ...string) {
	t.Helper()
	got := s.Do(t, harness.Request{
		Method: http.MethodPost, Path: harness.Collection(namespace), Token: s.AdminToken,
		Body: object(t, name, value, decrypters...),
	})
	if got.Code != http.StatusCreated {
		t.Fatalf("storing %s/%s: %d %s", namespace, name, got.Code, got.Body)
	}
}

// object is a SecureValue in JSON. Without a value it has no spec.value.
func object(t *testing.T, name, value string, decrypters ...string) string {
	t.Helper()
	spec := map[string]any{"description": "an incident", "decrypters": decrypters}
	if value != "" {
		spec["value"] = value
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"name": name}, "spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// decryptPath is where a value of the namespace default is fetched.
func decryptPath(name string) string {
	return "/decrypt/v1/namespaces/default/secrets/" + name + "/decrypt"
}

// onDecryptPort is the same server, addressed at its other port.
func onDecryptPort(s *harness.Server) *harness.Server {
	port := *s
	port.URL = s.DecryptURL
	return &port
}

// open fetches a value of the namespace default in plain text as k6 and returns it with the code.
func open(t *testing.T, s *harness.Server, name string) (string, int) {
	t.Helper()
	got := onDecryptPort(s).Do(t, harness.Request{
		Method: http.MethodGet, Path: decryptPath(name), Token: k6Token, Header: http.Header{"Accept": {"text/plain"}},
	})
	return string(got.Body), got.Code
}

// clean fails the test when an answer, its header included, has a canary.
func clean(t *testing.T, what string, got harness.Response, canaries ...string) {
	t.Helper()
	if found := harness.Find(append(fmt.Appendf(nil, "%v\n", got.Header), got.Body...), canaries...); len(found) > 0 {
		t.Errorf("the answer to %s (%d) holds %v", what, got.Code, found)
	}
}
