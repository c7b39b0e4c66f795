// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The plugin does not link packages that make up a third of the size of a binary and that it does not use.
func TestLinkedPackages(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := strings.Fields(string(out))
	for _, unwanted := range []string{
		"go.etcd.io/etcd/client/v3", "google.golang.org/grpc", "github.com/google/cel-go/cel",
		"k8s.io/client-go/kubernetes", "github.com/spf13/cobra/doc",
	} {
		if slices.Contains(linked, unwanted) {
			t.Errorf("%s is linked", unwanted)
		}
	}
}
