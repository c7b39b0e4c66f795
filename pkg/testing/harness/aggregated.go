// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

// FrontProxy is the common name of the front proxy's certificate.
const FrontProxy = "front-proxy-client"

// aggregatedKeys is the EncryptionConfiguration of a server in a cluster.
const aggregatedKeys = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [securevalues.secret.grafana.app]
  providers:
  - aesgcm: {keys: [{name: test, secret: dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=}]}
`

// aggregatedAuditKey chains the decrypt audit log of a server in a cluster.
const aggregatedAuditKey = "dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q="

// Cluster is what surrounds an aggregated server: a kube-apiserver, its CAs, and etcd.
type Cluster struct {
	API *kubeapi.Server
	// ProxyCA signs the front proxy's certificate, ClientCA those of clients, ServingCA that of the server.
	ProxyCA, ClientCA, ServingCA *certs.CA
	// EtcdServers is for --etcd-servers; EtcdDir is where that etcd keeps everything.
	EtcdServers, EtcdDir string
	// StopEtcd takes etcd away.
	StopEtcd func()
}

// NewCluster starts a cluster until the test ends.
func NewCluster(t *testing.T) *Cluster {
	t.Helper()
	dir := t.TempDir()
	db := Etcd(t, dir)
	c := &Cluster{
		API:     kubeapi.Start(t),
		ProxyCA: certs.NewCA(t, "front-proxy-ca"), ClientCA: certs.NewCA(t, "client-ca"), ServingCA: certs.NewCA(t, "serving-ca"),
		EtcdServers: strings.Join(db.Endpoints(), ","), EtcdDir: dir, StopEtcd: db.Stop,
	}
	c.API.SetConfigMap(t, c.ConfigMap())
	for _, name := range []string{"default", "other"} {
		c.AddNamespace(t, name, "Active")
	}
	return c
}

// AddNamespace creates or replaces a namespace.
func (c *Cluster) AddNamespace(t *testing.T, name, phase string) {
	t.Helper()
	c.API.Set(t, "namespaces", map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}, "status": map[string]any{"phase": phase},
	})
}

// ConfigMap is what kube-apiserver publishes for aggregated servers.
func (c *Cluster) ConfigMap() map[string]string {
	return map[string]string{
		"client-ca-file":                     c.ClientCA.PEM(),
		"requestheader-client-ca-file":       c.ProxyCA.PEM(),
		"requestheader-allowed-names":        `["` + FrontProxy + `"]`,
		"requestheader-username-headers":     `["X-Remote-User"]`,
		"requestheader-uid-headers":          `["X-Remote-Uid"]`,
		"requestheader-group-headers":        `["X-Remote-Group"]`,
		"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
	}
}

// Args are the flags that an aggregated server needs.
func (c *Cluster) Args(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		WriteFile(t, path, content)
		return path
	}
	certificate, key := c.ServingCA.Serving(t)
	return []string{
		"--kubeconfig=" + c.API.Kubeconfig(t), "--etcd-servers=" + c.EtcdServers, "--secure-port=0",
		"--decrypt-port=auto", "--decrypt-audit-log-path=" + filepath.Join(dir, "decrypt-audit", "decrypt.log"),
		"--decrypt-audit-key-file=" + file("decrypt-audit.key", aggregatedAuditKey+"\n"),
		"--encryption-provider-config=" + file("encryption.yaml", aggregatedKeys),
		"--tls-cert-file=" + file("tls.crt", certificate), "--tls-private-key-file=" + file("tls.key", key),
	}
}

// readyLine is what a server in a cluster logs once it serves, as text or in JSON.
var readyLine = regexp.MustCompile(`"Ready".* ?"?address"?[=:]"([^"]+)",? ?"?decrypt"?[=:]"([^"]*)"`)

// StartAggregated runs a server in a cluster until the test ends, audited and logged as Start does. It stops at once
// when it is told to, unless args say otherwise.
func StartAggregated(t *testing.T, c *Cluster, args ...string) *Server {
	t.Helper()
	s := newServer(t, Options{DataDir: c.EtcdDir})
	s.CAFile = filepath.Join(filepath.Dir(s.LogFile), "serving-ca.crt")
	WriteFile(t, s.CAFile, c.ServingCA.PEM())
	all := append(c.Args(t), "-v=10", "--shutdown-delay-duration=0s",
		"--audit-log-path="+s.AuditFile, "--audit-policy-file="+s.auditPolicy(t))
	s.run(t, append(all, args...))
	s.waitFor(t, func() bool {
		found := readyLine.FindSubmatch(ReadFile(t, s.LogFile))
		if found != nil {
			s.URL, s.DecryptURL = "https://"+string(found[1]), "https://"+string(found[2])
		}
		return found != nil
	})
	s.client = newHTTPClient(t, s.CAFile)
	return s
}
