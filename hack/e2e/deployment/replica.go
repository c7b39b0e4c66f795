// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/securevalue/secret-apiserver/hack/e2e/process"
)

// readyTimeout bounds a start on a busy machine; it makes no claim about speed.
const readyTimeout = 2 * time.Minute

// Replica is one secret-apiserver.
type Replica struct {
	*process.Process
	// URL is where this replica is, past aggregator and Service.
	URL string
	// DecryptURL is where its decrypt port is, DecryptAuditDir the folder of that port's own log.
	DecryptURL, DecryptAuditDir string
	// AuditFile is its audit log.
	AuditFile string

	address, probe string
}

func (d *Deployment) newReplica(number, port, decryptPort int) *Replica {
	name := fmt.Sprintf("secret-apiserver-%d", number)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	r := &Replica{URL: "https://" + address, address: address, probe: d.probe, AuditFile: filepath.Join(d.Dir, name+".audit.log")}
	r.DecryptURL, r.DecryptAuditDir = fmt.Sprintf("https://127.0.0.1:%d", decryptPort), filepath.Join(d.Dir, name)
	r.Process = process.New(filepath.Join(d.Dir, name+".log"), d.config.Binary, append([]string{
		fmt.Sprintf("--secure-port=%d", port), "--bind-address=127.0.0.1", "-v=10",
		"--kubeconfig=" + d.kubeconfig,
		"--etcd-servers=" + d.EtcdURL,
		"--encryption-provider-config=" + d.EncryptionFile, "--encryption-provider-config-automatic-reload",
		"--tls-cert-file=" + d.file("tls.crt"), "--tls-private-key-file=" + d.file("tls.key"),
		fmt.Sprintf("--decrypt-port=%d", decryptPort), "--decrypt-audit-instance=" + name,
		"--decrypt-audit-log-path=" + filepath.Join(r.DecryptAuditDir, "decrypt.log"), "--decrypt-audit-key-file=" + d.DecryptAuditKey(),
		"--audit-log-path=" + r.AuditFile, "--audit-policy-file=" + d.file("audit-policy.yaml"),
	}, d.config.Args...)...)
	return r
}

// Ready is nil when the readiness probe that deploy/ ships finds the replica ready.
func (r *Replica) Ready(ctx context.Context, client *http.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+r.probe, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s: %s", r.URL, r.probe, response.Status)
	}
	return nil
}

// AwaitReady waits until a replica that was started is ready.
func (d *Deployment) AwaitReady(ctx context.Context, r *Replica) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	client := d.probeClient()
	defer client.CloseIdleConnections()
	return r.Await(ctx, func(ctx context.Context) error { return r.Ready(ctx, client) })
}

// Restart stops a replica as a node does, and returns when it is ready again.
func (d *Deployment) Restart(ctx context.Context, r *Replica) error {
	if err := r.Stop(); err != nil {
		return err
	}
	if err := r.Start(); err != nil {
		return err
	}
	return d.AwaitReady(ctx, r)
}
