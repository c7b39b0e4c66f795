// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	namespace = "default"
	k6Token   = harness.K6Token
)

// start runs a server on which user k6 may open what lists k6-cloud.
func start(t *testing.T, dataDir string, args ...string) *harness.Server {
	t.Helper()
	return harness.Start(t, harness.Options{DataDir: dataDir, Args: args}.WithK6(namespace))
}

// fill stores n values of about size bytes and returns them by NAMESPACE/NAME.
func fill(t *testing.T, s *harness.Server, n, size int) map[string]string {
	t.Helper()
	values, stored := s.Values(t, "", namespace), map[string]string{}
	var group errgroup.Group
	group.SetLimit(8)
	for i := range n {
		name, value := fmt.Sprintf("value-%d", i), harness.Canary()
		value += strings.Repeat("x", max(size-len(value), 0))
		stored[namespace+"/"+name] = value
		group.Go(func() error {
			_, err := values.Create(t.Context(), harness.NewValue(name, value, "k6-cloud"), metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return stored
}

// must executes the server's binary as a tool that ends well, and returns its output.
func must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := harness.Tool(t, args...)
	if code != 0 || stderr != "" {
		t.Fatalf("secret-apiserver %s: code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// refused executes the server's binary as a tool that must fail with one line that holds want.
func refused(t *testing.T, want string, args ...string) string {
	t.Helper()
	stdout, stderr, code := harness.Tool(t, args...)
	if code != 1 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, "goroutine") {
		t.Errorf("secret-apiserver %s: want one line with %q, code %d\n%s%s", strings.Join(args, " "), want, code, stdout, stderr)
	}
	return stdout + stderr
}

func file(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "backup.db")
}

func keys(dataDir string) string { return filepath.Join(dataDir, "encryption.yaml") }

// restore restores a backup into a new folder with the keys of another one.
func restore(t *testing.T, backup, keysFrom string) (dataDir string) {
	t.Helper()
	dataDir = filepath.Join(t.TempDir(), "restored")
	must(t, "restore", "--from="+backup, "--data-dir="+dataDir)
	harness.WriteFile(t, keys(dataDir), string(harness.ReadFile(t, keys(keysFrom))))
	return dataDir
}

// tree describes every file in a folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			fmt.Fprintln(&text, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return text.String()
}

// noCanary fails when an output holds a value.
func noCanary(t *testing.T, what string, data []byte, values map[string]string) {
	t.Helper()
	for _, value := range values {
		if found := harness.Find(data, value); len(found) > 0 {
			t.Errorf("%s holds %v", what, found)
		}
	}
}
