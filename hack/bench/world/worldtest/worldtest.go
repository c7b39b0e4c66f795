// SPDX-License-Identifier: Apache-2.0

// Package worldtest gives tests a world with programs from this tree. It must never take a program from elsewhere.
package worldtest

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/securevalue/secret-apiserver/hack/bench/world"
)

// New builds what is missing and returns a world that ends with the test. The first time kube-apiserver is built, which
// takes minutes.
func New(t *testing.T) *world.World {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("no caller information")
	}
	root := filepath.Join(filepath.Dir(file), "..", "..", "..", "..")
	server := filepath.Join(root, "bin", "test", "secret-apiserver")
	for _, args := range [][]string{
		{"hack/build-controlplane.sh", "etcd", "kube-apiserver"}, {"go", "build", "-o", server, "./cmd/secret-apiserver"},
	} {
		command := exec.CommandContext(t.Context(), args[0], args[1:]...) //nolint:gosec // fixed commands
		command.Dir = root
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, output)
		}
	}
	w, err := world.New(world.Config{Dir: t.TempDir(), Binaries: filepath.Join(root, "bin", "e2e"), Server: server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w
}
