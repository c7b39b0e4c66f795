// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"

	apiserverconfigv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/keys"
)

const sealedResource = "securevalues.secret.grafana.app"

// readEncryption reports whether path exists and returns an error if it is not a valid configuration.
func readEncryption(path string) (exists bool, err error) {
	data, err := readPrivate(path)
	if data == nil {
		return false, err
	}
	if err := keys.CheckConfiguration(data); err != nil {
		return true, fmt.Errorf(
			"%s: %w; correct it or restore it from a backup: without its keys no stored secret opens", path, err)
	}
	return true, nil
}

// newEncryption returns a configuration with a new key. The name of the key has the date and a random suffix: two keys
// with one name cannot be used together, and a suffix that is not derived from the secret reveals nothing about it.
func newEncryption(now time.Time) ([]byte, error) {
	key := make([]byte, 32)
	rand.Read(key) // never returns an error
	suffix := make([]byte, 4)
	rand.Read(suffix)
	return yaml.Marshal(map[string]any{
		"apiVersion": apiserverconfigv1.SchemeGroupVersion.String(),
		"kind":       "EncryptionConfiguration",
		"resources": []any{map[string]any{
			"resources": []string{sealedResource},
			"providers": []any{map[string]any{"aesgcm": map[string]any{"keys": []any{map[string]any{
				"name":   "key-" + now.UTC().Format("20060102") + "-" + hex.EncodeToString(suffix),
				"secret": base64.StdEncoding.EncodeToString(key),
			}}}}},
		}},
	})
}
