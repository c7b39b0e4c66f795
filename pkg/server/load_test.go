// SPDX-License-Identifier: Apache-2.0

package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDecryptPortForgetsQuickly: a revoked permission may work on the decrypt port for at most 500 ms.
func TestDecryptPortForgetsQuickly(t *testing.T) {
	t.Parallel()
	if decryptCacheTTL > 500*time.Millisecond {
		t.Errorf("%s", decryptCacheTTL)
	}
}

// TestKubeconfigNamesALooseFile: files that a kubeconfig names are held to the rule of those that flags name.
func TestKubeconfigNamesALooseFile(t *testing.T) {
	for field, want := range map[string]string{
		"tokenFile": "can be read by every user", "client-certificate": "can be changed by other users",
	} {
		dir := t.TempDir()
		named, kubeconfig := filepath.Join(dir, "named"), filepath.Join(dir, "kubeconfig")
		content := "clusters: [{name: c, cluster: {server: https://127.0.0.1}}]\ncontexts: [{name: c, context: " +
			"{cluster: c, user: u}}]\ncurrent-context: c\nusers: [{name: u, user: {" + field + ": named"
		if field == "client-certificate" {
			content += ", client-key: named"
		}
		for path, text := range map[string]string{named: "x", kubeconfig: content + "}}]\n"} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := restConfig("kubeconfig", kubeconfig); err != nil {
			t.Error(err)
		}
		mode := os.FileMode(0o604)
		if field == "client-certificate" {
			mode = 0o620
		}
		if err := os.Chmod(named, mode); err != nil {
			t.Fatal(err)
		}
		_, err := restConfig("kubeconfig", kubeconfig)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--kubeconfig: "+named) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
