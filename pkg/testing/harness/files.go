// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// Root is the folder of this repository.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("no caller information")
	}
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

var builds struct {
	sync.Mutex
	done map[string]error
}

// Binary builds secret-apiserver from this tree once for each test binary, with the race detector when the test has it,
// and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	file := filepath.Join(Root(t), "bin", "test", "secret-apiserver"+raceSuffix)
	args := []string{"build", "-o", file}
	if raceSuffix != "" {
		args = append(args, "-race")
	}
	once(t, file, "go", append(args, "./cmd/secret-apiserver")...)
	return file
}

// ControllerManagerBinary builds secret-controller-manager from this tree once and returns its path.
func ControllerManagerBinary(t testing.TB) string {
	t.Helper()
	file := filepath.Join(Root(t), "bin", "test", "secret-controller-manager")
	once(t, file, "go", "build", "-o", file, "./cmd/secret-controller-manager")
	return file
}

// AgentBinary builds secret-agent from this tree once, as a release does, and returns its path.
func AgentBinary(t testing.TB) string {
	t.Helper()
	file := filepath.Join(Root(t), "bin", "test", "secret-agent")
	once(t, file, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", file, "./cmd/secret-agent")
	return file
}

// KubectlBinary builds the pinned kubectl once and returns its path.
func KubectlBinary(t testing.TB) string {
	t.Helper()
	once(t, "kubectl", "bash", "hack/build-kubectl.sh")
	return filepath.Join(Root(t), "bin", "kubectl")
}

// EtcdBinary builds etcd of the version in go.mod once and returns its path.
func EtcdBinary(t testing.TB) string {
	t.Helper()
	file := filepath.Join(Root(t), "bin", "test", "etcd")
	once(t, file, "go", "build", "-o", file, "go.etcd.io/etcd/server/v3")
	return file
}

// KMSPluginBinary builds hack/kms-plugin once and returns its path.
func KMSPluginBinary(t testing.TB) string {
	t.Helper()
	file := filepath.Join(Root(t), "bin", "test", "kms-plugin")
	once(t, file, "go", "build", "-o", file, "./hack/kms-plugin")
	return file
}

func once(t testing.TB, key, name string, args ...string) {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	err, ok := builds.done[key]
	if !ok {
		command := exec.CommandContext(t.Context(), name, args...) //nolint:gosec // fixed commands
		command.Dir = Root(t)
		var output []byte
		if output, err = command.CombinedOutput(); err != nil {
			t.Logf("%s %v:\n%s", name, args, output)
		}
		if builds.done == nil {
			builds.done = map[string]error{}
		}
		builds.done[key] = err
	}
	if err != nil {
		t.Fatalf("building %s: %v", key, err)
	}
}

// ReadFile returns a file's content, and nothing for one that does not exist yet.
func ReadFile(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file) //nolint:gosec // a file of the test
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return data
}

// WriteFile replaces a file as an editor does: written beside it and renamed.
func WriteFile(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, file string) *os.File {
	t.Helper()
	f, err := os.Create(file) //nolint:gosec // a file of the test
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Setting reads a number from the environment: how much of something a long run of a test does, or its seed.
func Setting(t testing.TB, name string, byDefault uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return byDefault
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
