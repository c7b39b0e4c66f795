// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"net"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

func (d *Data) path(elem ...string) string { return filepath.Join(append([]string{d.dir}, elem...)...) }

func (d *Data) digestPath() string { return d.path("admin-token.sha256") }

// Dir is the absolute path of the data directory.
func (d *Data) Dir() string { return d.dir }

// EtcdDir is where the embedded etcd belongs.
func (d *Data) EtcdDir() string { return EtcdDir(d.dir) }

// EtcdDir is where the embedded etcd of a data directory belongs.
func EtcdDir(dataDir string) string { return filepath.Join(dataDir, "etcd") }

// EncryptionConfig is the path of the EncryptionConfiguration.
func (d *Data) EncryptionConfig() string { return d.path("encryption.yaml") }

// Kubeconfig is the path of the administrator's kubeconfig.
func (d *Data) Kubeconfig() string { return d.path("admin.kubeconfig") }

// DecryptAudit returns the paths of the decrypt audit log and of the key that chains it, outside of the log's folder.
func (d *Data) DecryptAudit() (logFile, keyFile string) {
	return d.path("decrypt-audit", "decrypt.log"), d.path("decrypt-audit.key")
}

// CACert is the path of the certificate that clients verify the server with.
func (d *Data) CACert() string { return d.path("pki", "ca.crt") }

// ServingCert returns the paths of the serving certificate and its key.
func (d *Data) ServingCert() (certFile, keyFile string) {
	return d.path("pki", "serving.crt"), d.path("pki", "serving.key")
}

// ServerURL is how a client on this machine reaches the server.
func (d *Data) ServerURL() string { return d.server }

// Names lists, for people, the names and addresses beyond loopback that the serving certificate was issued for at the start. It is
// empty for a server that only this machine reaches, unless --tls-san asks for some.
func (d *Data) Names() string {
	if ip := net.ParseIP(d.cfg.BindAddress); ip.IsLoopback() && len(d.cfg.ExtraSANs) == 0 {
		return ""
	}
	others := slices.DeleteFunc(slices.Clone(d.hosts), func(host string) bool {
		ip := net.ParseIP(host)
		return host == "localhost" || (ip != nil && ip.IsLoopback())
	})
	return strings.Join(others, ", ")
}

// AdminAuthenticator knows the admin token, and nobody else.
func (d *Data) AdminAuthenticator() authenticator.Token { return adminToken(d.admin) }

// Close gives the directory free. Call it after etcd has stopped.
func (d *Data) Close() error { return d.lock.Close() }
