// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/securevalue/secret-apiserver/hack/bench/wire"
	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
	"github.com/securevalue/secret-apiserver/hack/e2e/process"
)

// idleAdmission are kube-apiserver's default plugins that look at a Secret. secret-apiserver has none standalone.
const idleAdmission = "NamespaceLifecycle,MutatingAdmissionPolicy,MutatingAdmissionWebhook,ValidatingAdmissionPolicy," +
	"ValidatingAdmissionWebhook,ResourceQuota"

const auditPolicy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n"

const encryption = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [%s]
  providers:
`

// rbac gives User the rights of the run and nothing else.
const rbac = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: bench}
rules:
- {apiGroups: [secret.grafana.app], resources: [securevalues], verbs: [create, get, list, watch, update, patch, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: bench}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: bench}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: bench}
`

// EncryptionFile is where the keys of the side are; the server reads it again when it changes.
func (s *Side) EncryptionFile() string { return s.file("encryption.yaml") }

// WriteKeys makes these the names of the keys, the first one for writing. A name keeps its key within a world.
func (s *Side) WriteKeys(names ...string) error {
	resource := "securevalues.secret.grafana.app"
	if s.Name == Core {
		resource = "secrets"
	}
	text := &strings.Builder{}
	fmt.Fprintf(text, encryption, resource)
	for _, name := range names {
		key, err := s.key(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(text, "  - aesgcm: {keys: [{name: %s, secret: %s}]}\n", name, key)
	}
	return pki.WriteFile(s.EncryptionFile(), []byte(text.String()))
}

// key returns the key of a name in base64, a new one the first time.
func (s *Side) key(name string) (string, error) {
	file := s.file(name + ".key")
	if data, err := os.ReadFile(file); err == nil { //nolint:gosec // a file of the run
		return string(data), nil
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	text := base64.StdEncoding.EncodeToString(key)
	return text, pki.WriteFile(file, []byte(text))
}

// prepare writes the files of a side and sets its flags.
func (s *Side) prepare() error {
	if err := s.WriteKeys("bench"); err != nil {
		return err
	}
	audit := s.file("audit.log")
	if s.Name == Core {
		policy := s.world.file("audit-policy.yaml")
		s.auditArgs = []string{"--audit-log-path=" + audit, "--audit-policy-file=" + policy}
		s.args = s.kubeArgs()
		s.server = process.New(s.file("server.log"), filepath.Join(s.world.config.Binaries, "kube-apiserver"))
		return pki.WriteFile(policy, []byte(auditPolicy))
	}
	s.auditArgs = []string{"--audit-log-path=" + audit} // Metadata without a policy
	s.args = s.serverArgs()
	s.server = process.New(s.file("server.log"), s.world.config.Server)
	directory := s.file("rbac")
	return errors.Join(os.MkdirAll(directory, 0o700), pki.WriteFile(filepath.Join(directory, "bench.yaml"), []byte(rbac)))
}

// kubeArgs turn off what secret-apiserver does not do standalone, unless the run is to show the stock server.
func (s *Side) kubeArgs() []string {
	w := s.world
	args := []string{
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", s.port), "--endpoint-reconciler-type=none",
		"--etcd-servers=" + s.etcdURL, "--encryption-provider-config=" + s.EncryptionFile(),
		"--tls-cert-file=" + w.file("tls.crt"), "--tls-private-key-file=" + w.file("tls.key"), "--client-ca-file=" + w.file("ca.crt"),
		"--authorization-mode=RBAC", "--profiling=false", "--service-cluster-ip-range=10.96.0.0/24",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + w.file("sa.pub"),
		"--service-account-signing-key-file=" + w.file("sa.key"),
	}
	if !w.config.Stock {
		args = append(args, "--enable-priority-and-fairness=false", "--disable-admission-plugins="+idleAdmission)
	}
	return args
}

func (s *Side) serverArgs() []string {
	w := s.world
	args := []string{
		"--standalone", "--data-dir=" + s.file("data"), fmt.Sprintf("--secure-port=%d", s.port), "--decrypt-port=auto",
		"--encryption-provider-config=" + s.EncryptionFile(), "--rbac-dir=" + s.file("rbac"),
		"--tls-cert-file=" + w.file("tls.crt"), "--tls-private-key-file=" + w.file("tls.key"), "--client-ca-file=" + w.file("ca.crt"),
		"--max-mutating-requests-inflight=400", // one user gets a quarter, and 64 clients of one write
	}
	if s.etcd != nil {
		args = append(args, "--etcd-servers="+s.etcdURL)
	}
	return append(args, w.config.ServerArgs...)
}

// coreObjects are for kube-apiserver what rbac is for secret-apiserver, as path and body.
var coreObjects = [][2]string{
	{"/apis/rbac.authorization.k8s.io/v1/clusterroles", `{"metadata":{"name":"bench"},"rules":[{"apiGroups":[""],"resources":["secrets"],` +
		`"verbs":["create","get","list","watch","update","patch","delete"]}]}`},
	{"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{"metadata":{"name":"bench"},` +
		`"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"bench"},` +
		`"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"bench"}]}`},
}

// Grant gives User its rights where that is done through the API, and makes the namespaces that must exist.
func (s *Side) Grant(ctx context.Context, namespaces ...string) error {
	if s.Name != Core {
		return nil
	}
	connection, err := wire.Dial(ctx, s.Address, s.Admin)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	objects := coreObjects
	for _, namespace := range namespaces {
		objects = append(objects, [2]string{"/api/v1/namespaces", fmt.Sprintf(`{"metadata":{"name":%q}}`, namespace)})
	}
	for _, object := range objects {
		var answer []byte
		status, err := connection.Do(wire.Request{
			Method: http.MethodPost, Path: object[0], ContentType: "application/json", Body: []byte(object[1]),
		}, func(part []byte) { answer = append(answer, part...) })
		if err != nil {
			return err
		}
		if status != http.StatusCreated && status != http.StatusConflict {
			return fmt.Errorf("POST %s: %d: %s", object[0], status, answer)
		}
	}
	return nil
}
