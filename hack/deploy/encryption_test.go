// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/keys"
)

// TestNewEncryptionConfig runs the script that docs/operations.md tells people to run: the server takes what it prints,
// and no two are alike.
func TestNewEncryptionConfig(t *testing.T) {
	var configs [][]byte
	names := map[string]bool{}
	for range 2 {
		config, err := exec.CommandContext(t.Context(), "../new-encryption-config.sh").Output()
		if err != nil {
			t.Fatal(err)
		}
		keys, err := keys.Parse(config)
		if err != nil {
			t.Fatalf("the server refuses it: %v", err)
		}
		names[keys.Names()[0]] = true
		configs = append(configs, config)
	}
	if bytes.Equal(configs[0], configs[1]) {
		t.Error("two runs give one key")
	}
	if len(names) != 2 {
		t.Errorf("two runs on one day give one name: %v", names)
	}
}

func TestKMSConfigurationIsTaken(t *testing.T) {
	config, err := os.ReadFile("../../deploy/components/kms-plugin/encryption.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.CheckConfiguration(config); err != nil {
		t.Error(err)
	}
	p := getPod(t, build(t, builds["kms-plugin"]), "secret-apiserver")
	socket := "/var/run/kms-plugin"
	for _, name := range []string{"secret-apiserver", "kms-plugin"} {
		found := false
		for _, m := range p.container(t, name).VolumeMounts {
			found = found || m.MountPath == socket
		}
		if !found || !bytes.Contains(config, []byte("unix://"+socket+"/")) {
			t.Errorf("%s does not see the socket of encryption.yaml", name)
		}
	}
}

// keyOf is a field with a key of 16 bytes or more in base64.
var keyOf = regexp.MustCompile(`secret:\s*["']?[A-Za-z0-9+/]{22,}`)

// TestNoKeyInTheRepository: whatever looks like a key of 32 bytes in a manifest or a document would be used by
// somebody.
func TestNoKeyInTheRepository(t *testing.T) {
	for _, folder := range []string{"../../deploy", "../../docs", "../../config"} {
		tree := os.DirFS(folder)
		err := fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := fs.ReadFile(tree, path)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(data)) {
				if keyOf.MatchString(line) {
					t.Errorf("%s/%s holds a key: %s", folder, path, strings.TrimSpace(line))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
