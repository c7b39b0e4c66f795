// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
)

// keys are made once by name: a key that comes back must be the same.
var keys = map[string]string{}

// WriteKeys makes these the keys of the EncryptionConfiguration, the first one for writes; the replicas reload it.
func (d *Deployment) WriteKeys(names ...string) error {
	var list []string
	for _, name := range names {
		if keys[name] == "" {
			key := make([]byte, 32)
			_, _ = rand.Read(key) // never fails
			keys[name] = base64.StdEncoding.EncodeToString(key)
		}
		list = append(list, fmt.Sprintf("{name: %s, secret: %s}", name, keys[name]))
	}
	return pki.WriteFile(d.EncryptionFile, fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [securevalues.secret.grafana.app]
  providers:
  - aesgcm: {keys: [%s]}
`, strings.Join(list, ", ")))
}
