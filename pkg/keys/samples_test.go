// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"
)

// Every sample that ships is one that the server takes once its keys are filled in, and none is taken as it stands: a
// key from a public repository is not secret.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("../../config/encryption/*.yaml")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	for _, file := range files {
		sample, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		filled := fillKeys(sample)
		if err := CheckConfiguration(filled); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if !bytes.Equal(filled, sample) && CheckConfiguration(sample) == nil {
			t.Errorf("%s is taken without a key of one's own", file)
		}
	}
}

// fillKeys puts a name and a new key in each place that a sample leaves open.
func fillKeys(sample []byte) []byte {
	const open = "<32 random bytes in base64>"
	sample = bytes.ReplaceAll(sample, []byte("<8 random hex digits>"), []byte("3f9c2e71"))
	for bytes.Contains(sample, []byte(open)) {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails, says its documentation
		sample = bytes.Replace(sample, []byte(open), []byte(base64.StdEncoding.EncodeToString(key)), 1)
	}
	return sample
}
