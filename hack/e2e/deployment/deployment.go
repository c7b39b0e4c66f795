// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/hack/e2e/controlplane"
	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
	"github.com/securevalue/secret-apiserver/hack/e2e/process"
)

const (
	// Namespace is where deploy/ puts everything.
	Namespace = "secret-system"
	// Name is that of the Deployment, its Service and its ServiceAccount.
	Name = "secret-apiserver"
)

// Config says what is deployed where.
type Config struct {
	ControlPlane *controlplane.ControlPlane
	// Dir gets logs, data and certificates.
	Dir string
	// Binary is secret-apiserver, Binaries the folder with etcd.
	Binary, Binaries string
	Replicas         int
	// Args are further flags of every replica.
	Args []string
}

// Deployment is secret-apiserver in a cluster.
type Deployment struct {
	Dir      string
	Replicas []*Replica
	// Etcd is the replicas' own, at EtcdURL, so that it can be stopped while the cluster lives.
	Etcd    *process.Process
	EtcdURL string
	// EncryptionFile is --encryption-provider-config.
	EncryptionFile string
	// CA signed the serving certificate.
	CA *pki.CA

	config     Config
	kubeconfig string
	probe      string // path of the readiness probe
	port       int
	balancer   *balancer
}

// auditPolicy asks for bodies, which our audit log must leave out all the same.
const auditPolicy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: RequestResponse\n"

// Start deploys, and returns when the APIService is available. What was started is stopped by Stop, also after an
// error. deploy/base must have been applied.
func Start(ctx context.Context, config Config) (*Deployment, error) {
	d := &Deployment{Dir: config.Dir, config: config}
	d.EncryptionFile = d.file("encryption.yaml")
	if err := d.prepare(ctx); err != nil {
		return d, err
	}
	if err := d.startEtcd(ctx); err != nil {
		return d, fmt.Errorf("etcd of secret-apiserver: %w", err)
	}
	if err := d.startReplicas(ctx); err != nil {
		return d, err
	}
	if err := d.startService(ctx); err != nil {
		return d, err
	}
	if err := d.register(ctx); err != nil {
		return d, fmt.Errorf("registering %s: %w", APIService, err)
	}
	return d, d.AwaitAvailable(ctx)
}

// Stop ends everything at once.
func (d *Deployment) Stop() {
	if d.balancer != nil {
		d.balancer.close()
	}
	for _, replica := range d.Replicas {
		replica.Kill()
	}
	if d.Etcd != nil {
		d.Etcd.Kill()
	}
}

// prepare writes the files that a Pod has mounted.
func (d *Deployment) prepare(ctx context.Context) error {
	if err := os.MkdirAll(d.file("etcd"), 0o700); err != nil {
		return err
	}
	ca, err := pki.NewCA("secret-apiserver-ca")
	if err != nil {
		return err
	}
	if err := d.readShipped(ctx); err != nil {
		return err
	}
	d.kubeconfig, err = d.config.ControlPlane.ServiceAccountKubeconfig(ctx, Namespace, Name)
	return errors.Join(err, d.WriteServing(ca), d.WriteKeys("first"),
		pki.WriteFile(d.file("audit-policy.yaml"), []byte(auditPolicy)), d.writeAuditKey())
}

// DecryptAuditKey is the key that chains the decrypt audit logs of all replicas.
func (d *Deployment) DecryptAuditKey() string { return d.file("decrypt-audit.key") }

// writeAuditKey makes the key that chains the decrypt audit logs.
func (d *Deployment) writeAuditKey() error {
	key := make([]byte, 32)
	rand.Read(key) // never fails: it ends the process instead
	return pki.WriteFile(d.DecryptAuditKey(), []byte(base64.StdEncoding.EncodeToString(key)+"\n"))
}

// readShipped takes from the Deployment of deploy/ what a node would.
func (d *Deployment) readShipped(ctx context.Context) error {
	shipped, err := d.config.ControlPlane.Admin.AppsV1().Deployments(Namespace).Get(ctx, Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	d.probe = shipped.Spec.Template.Spec.Containers[0].ReadinessProbe.HTTPGet.Path
	return nil
}

// WriteServing gives the replicas a serving certificate of this CA; they reload the files.
func (d *Deployment) WriteServing(ca *pki.CA) error {
	pair, err := ca.Serving(Name, Name+"."+Namespace+".svc", "secret-decrypt."+Namespace+".svc")
	if err != nil {
		return err
	}
	d.CA = ca
	return pair.Write(d.file("tls.crt"), d.file("tls.key"))
}

func (d *Deployment) startEtcd(ctx context.Context) (err error) {
	d.Etcd, d.EtcdURL, err = controlplane.StartEtcd(ctx, d.config.Binaries, d.file("etcd"), d.file("etcd.log"))
	return err
}

// StopEtcd ends our etcd as an operator does. It dies of the signal when it has closed everything.
func (d *Deployment) StopEtcd() error {
	err := d.Etcd.Stop()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
		return nil
	}
	return err
}

// StartEtcdAgain starts a stopped etcd on its old data and waits until it answers.
func (d *Deployment) StartEtcdAgain(ctx context.Context) error {
	if err := d.Etcd.Start(); err != nil {
		return err
	}
	return controlplane.AwaitEtcd(ctx, d.Etcd, d.EtcdURL)
}

func (d *Deployment) startReplicas(ctx context.Context) error {
	for number := range d.config.Replicas {
		port, err := controlplane.FreePort()
		if err != nil {
			return err
		}
		decryptPort, err := controlplane.FreePort()
		if err != nil {
			return err
		}
		replica := d.newReplica(number, port, decryptPort)
		d.Replicas = append(d.Replicas, replica)
		if err := replica.Start(); err != nil {
			return err
		}
	}
	for _, replica := range d.Replicas {
		if err := d.AwaitReady(ctx, replica); err != nil {
			return err
		}
	}
	return nil
}

func (d *Deployment) startService(ctx context.Context) error {
	port, err := controlplane.FreePort()
	if err != nil {
		return err
	}
	d.port = port
	d.balancer, err = newBalancer(ctx, port, d.probeClient(), d.Replicas)
	return err
}

// probeClient asks for readiness as a kubelet does, which does not check certificates.
func (d *Deployment) probeClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as a kubelet
	}}
}

func (d *Deployment) file(name string) string { return filepath.Join(d.Dir, name) }
