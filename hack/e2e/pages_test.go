// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/docs"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestPages runs the commands of the pages that need a cluster, as they stand and in order.
func TestPages(t *testing.T) {
	buildPlugin(t)
	programs := map[string]string{}
	for name, file := range map[string]string{"kubectl": "bin/kubectl", "kubectl-securevalue": "bin/e2e/kubectl-securevalue"} {
		absolute, err := filepath.Abs(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		programs[name] = absolute
	}
	for _, page := range docs.ClusterPages {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(root, page))
			if err != nil {
				t.Fatal(err)
			}
			blocks, err := docs.Parse(string(text))
			if err != nil {
				t.Fatal(err)
			}
			terminal := docs.NewTerminal(t, page, programs)
			terminal.Environment = append(terminal.Environment, "KUBECONFIG="+cluster.Kubeconfig)
			terminal.Addresses = strings.NewReplacer("127.0.0.1:8444", strings.TrimPrefix(server.Replicas[0].DecryptURL, "https://"))
			harness.WriteFile(t, filepath.Join(terminal.Dir, "ca.crt"), string(server.CA.PEM()))
			ran := 0
			for _, b := range blocks {
				if b.Mark == "tested" {
					terminal.Run(t, b)
					ran++
				}
			}
			if ran == 0 {
				t.Error("the page has no block that is run")
			}
		})
	}
}
