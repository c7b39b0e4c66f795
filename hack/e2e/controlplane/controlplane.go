// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
	"github.com/securevalue/secret-apiserver/hack/e2e/process"
)

// startTimeout bounds a start on a busy machine; it makes no claim about speed.
const startTimeout = 3 * time.Minute

// ControlPlane is a running control plane.
type ControlPlane struct {
	// Dir holds everything: certificates, data, logs.
	Dir string
	// URL is where kube-apiserver is.
	URL string
	// Kubeconfig is that of an administrator, a member of system:masters.
	Kubeconfig string
	// AuditFile is kube-apiserver's audit log.
	AuditFile string
	// ClientCA signs clients' certificates and kube-apiserver's serving certificate, FrontProxyCA that of the
	// aggregator.
	ClientCA, FrontProxyCA *pki.CA
	// Admin is a client with the rights of Kubeconfig.
	Admin kubernetes.Interface
	// Etcd, APIServer and ControllerManager can be stopped and started again.
	Etcd, APIServer, ControllerManager *process.Process

	binaries string
	config   *restclient.Config
}

// Start runs a control plane in dir with the binaries of a folder, and returns when it is ready. What was started is
// stopped by Stop, also after an error.
func Start(ctx context.Context, dir, binaries string) (*ControlPlane, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c := &ControlPlane{Dir: dir, binaries: binaries, AuditFile: filepath.Join(dir, "kube-audit.log")}
	for _, name := range []string{"pki", "etcd"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return c, err
		}
	}
	if err := c.writePKI(); err != nil {
		return c, fmt.Errorf("making certificates: %w", err)
	}
	etcd, url, err := StartEtcd(ctx, binaries, filepath.Join(dir, "etcd"), filepath.Join(dir, "etcd.log"))
	c.Etcd = etcd
	if err != nil {
		return c, fmt.Errorf("etcd: %w", err)
	}
	if err := c.startAPIServer(ctx, url); err != nil {
		return c, fmt.Errorf("kube-apiserver: %w", err)
	}
	if err := c.startControllerManager(ctx); err != nil {
		return c, fmt.Errorf("kube-controller-manager: %w", err)
	}
	return c, nil
}

// Stop ends everything at once; nothing of it is needed any more.
func (c *ControlPlane) Stop() {
	for _, p := range []*process.Process{c.ControllerManager, c.APIServer, c.Etcd} {
		if p != nil {
			p.Kill()
		}
	}
}

// AdminConfig returns a copy of the administrator's client configuration.
func (c *ControlPlane) AdminConfig() *restclient.Config { return restclient.CopyConfig(c.config) }

func (c *ControlPlane) file(name string) string { return filepath.Join(c.Dir, "pki", name) }

func (c *ControlPlane) binary(name string) string { return filepath.Join(c.binaries, name) }
