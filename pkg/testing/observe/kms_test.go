// SPDX-License-Identifier: Apache-2.0

//go:build observe

package observe

import (
	"net/http"
	"path/filepath"
	"slices"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/kmsplugin"
)

// A KMS plugin that is away fails writes and decrypting: Prometheus tells of all three.
func TestPrometheusTellsOfADeadKMS(t *testing.T) {
	t.Parallel()
	plugin := kmsplugin.Start(t)
	config := filepath.Join(t.TempDir(), "encryption.yaml")
	harness.WriteFile(t, config, "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"+
		"- resources: [securevalues.secret.grafana.app]\n  providers:\n"+plugin.Provider("vault"))
	options := access(t)
	options.Args = []string{"--encryption-provider-config=" + config}
	w := &workload{Server: harness.Start(t, options)}
	w.create(t, "open-0", "k6-cloud")
	w.Stop(t)
	plugin.Stop()
	options.DataDir = w.DataDir
	w.Server = harness.Start(t, options) // without the data keys that it had in memory

	p := scrape(t, w, serveControllerMetrics(t).URL)
	missing := []string{"SecretKMSUnhealthy", "SecretApiserverErrors", "SecretDecryptErrors"}
	harness.Eventually(t, "each alert about a dead KMS has come", func() bool {
		body := `{"metadata":{"name":"fresh"},"spec":{"description":"a test","value":"` + w.canaries[0] + `","decrypters":["k6-cloud"]}}`
		w.Do(t, harness.Request{Method: http.MethodPost, Path: harness.Collection("default"), Token: w.AdminToken, Body: body}).Want(t, http.StatusServiceUnavailable)
		w.decrypt(t, k6Token, http.StatusServiceUnavailable, "default", "open-0")
		alerts := p.alerts(t)
		missing = slices.DeleteFunc(missing, func(name string) bool { return slices.Contains(alerts, name) })
		return len(missing) == 0
	})
	for failure := range withoutData {
		if len(p.query(t, failure)) == 0 {
			t.Errorf("no data for %s", failure)
		}
	}
	w.wantNoLeaks(t, p)
}
