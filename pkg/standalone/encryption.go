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

// readEncryption says whether path holds a configuration, and refuses one that is not sound.
func readEncryption(path string) (exists bool, err error) {
	data, err := readPrivate(path)
	if data == nil {
		return false, err
	}
	if err := keys.CheckConfiguration(data); err != nil {
		return true, fmt.Errorf("%s: %w; correct it or restore it from a backup: without its keys no stored secret opens", path, err)
	}
	return true, nil
}

// newEncryption returns a configuration with one fresh key. Its name has the day it was made, and a random suffix: two keys of
// one name could never be used together, and a suffix that is not made from the secret tells nothing about it.
func newEncryption(now time.Time) ([]byte, error) {
	key := make([]byte, 32)
	rand.Read(key) // never fails: it ends the process instead
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
