// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"context"
	"crypto/x509"
	"os"
	"time"

	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// renewInterval is how often the clock and the addresses of the machine are compared with the serving certificate.
const renewInterval = time.Minute

// Renew issues the serving certificate again, while the server runs, a third of its life before its end, when the clock
// is set to before its beginning, and when the machine has an address that it lacks. Servers take it over for new
// connections.
func (d *Data) Renew(ctx context.Context) {
	last := ""
	reload.Every(ctx, renewInterval, func(context.Context, bool) {
		err := d.renew()
		if err != nil && err.Error() != last {
			klog.ErrorS(err, "Could not renew the serving certificate; trying again", "every", renewInterval)
		}
		last = ""
		if err != nil {
			last = err.Error()
		}
	})
}

// renew looks at the certificates alone first: keys are read when one is needed.
func (d *Data) renew() error {
	var found content
	certPath, _ := d.ServingCert()
	if err := d.readHosts(&found); err != nil {
		return err
	}
	serving, ca := pair{cert: readCert(certPath)}, readCert(d.CACert())
	if ca != nil && !d.cfg.now().Before(ca.NotBefore) && serving.serves(found.hosts, d.cfg.now(), ca) {
		return nil
	}
	if err := d.readPKI(&found); err != nil {
		return err
	}
	if err := d.fillPKI(found); err != nil {
		return err
	}
	kubeconfig, err := readKubeconfig(d.Kubeconfig())
	if kubeconfig == nil {
		return err
	}
	bundle, err := os.ReadFile(d.CACert())
	if err != nil {
		return err
	}
	return d.pointKubeconfig(kubeconfig, bundle)
}

func readCert(path string) *x509.Certificate {
	certs, err := cert.CertsFromFile(path)
	if err != nil {
		return nil // readPKI says why
	}
	return certs[0]
}

// pointKubeconfig has the admin kubeconfig name this server and its authority.
func (d *Data) pointKubeconfig(kubeconfig *clientcmdv1.Config, ca []byte) error {
	if !pointTo(kubeconfig, d.server, ca) {
		return nil
	}
	klog.Background().Info("pointing the admin kubeconfig to this server", "path", d.Kubeconfig(), "server", d.server)
	return writeKubeconfig(d.Kubeconfig(), kubeconfig)
}
