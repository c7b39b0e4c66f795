// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"os"
	"path/filepath"
	"testing"
)

// Every sample that ships is one that the server takes.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("../../config/encryption/*.yaml")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckConfiguration(data); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
