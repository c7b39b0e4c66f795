// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	apiserverconfigv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"sigs.k8s.io/yaml"
)

const sealedResource = "securevalues.secret.grafana.app"

// readEncryption says whether path holds a configuration, and refuses one that is not sound.
func readEncryption(path string) (exists bool, err error) {
	data, err := readPrivate(path)
	if data == nil {
		return false, err
	}
	if err := checkEncryption(data); err != nil {
		return true, fmt.Errorf("%s: %w; correct it or restore it from a backup: without its keys no stored secret opens", path, err)
	}
	return true, nil
}

// checkEncryption decodes data as strictly as the server will. The decoder's own text is left out: it may quote a key.
func checkEncryption(data []byte) error {
	var v1 apiserverconfigv1.EncryptionConfiguration
	if err := yaml.UnmarshalStrict(data, &v1); err != nil {
		return errors.New("not a valid EncryptionConfiguration (syntax, unknown or repeated field)")
	}
	if v1.Kind != "EncryptionConfiguration" || v1.APIVersion != apiserverconfigv1.SchemeGroupVersion.String() {
		return errors.New("not an EncryptionConfiguration of " + apiserverconfigv1.SchemeGroupVersion.String())
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	scheme.Default(&v1) // as the server does: KMS providers have timeouts by default
	var internal apiserverconfig.EncryptionConfiguration
	if err := scheme.Convert(&v1, &internal, nil); err != nil {
		return errors.New("not convertible to the server's own form")
	}
	// Upstream's validation replaces keys by "REDACTED".
	return validation.ValidateEncryptionConfiguration(&internal, false).ToAggregate()
}

// newEncryption returns a configuration with one fresh key, named after the day it was made.
func newEncryption(now time.Time) ([]byte, error) {
	key := make([]byte, 32)
	rand.Read(key) //nolint:errcheck // never fails: it ends the process instead
	return yaml.Marshal(map[string]any{
		"apiVersion": apiserverconfigv1.SchemeGroupVersion.String(),
		"kind":       "EncryptionConfiguration",
		"resources": []any{map[string]any{
			"resources": []string{sealedResource},
			"providers": []any{map[string]any{"aesgcm": map[string]any{"keys": []any{map[string]any{
				"name":   "key-" + now.UTC().Format("20060102"),
				"secret": base64.StdEncoding.EncodeToString(key),
			}}}}},
		}},
	})
}
