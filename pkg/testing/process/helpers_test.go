// SPDX-License-Identifier: Apache-2.0

package process

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// patience bounds a wait on a busy machine. The keys are looked at once a minute.
const patience = 150 * time.Second

// eventually waits until something is true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener := listen(t)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// tree describes everything in a folder by mode and content, but for the lock, which names whoever tried last.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil || relative == "lock" {
			return err
		}
		found[relative] = info.Mode().String()
		if info.Mode().IsRegular() {
			found[relative] += fmt.Sprintf(" %x", sha256.Sum256(harness.ReadFile(t, path)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// copyTree copies folders and regular files with their modes.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(target, info.Mode().Perm())
		}
		return os.WriteFile(target, harness.ReadFile(t, path), info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// body is a SecureValue as JSON.
func body(name, value string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"description":"test","value":%q}}`, name, value)
}

// create stores a value as the admin and returns the response object.
func create(t *testing.T, s *harness.Server, namespace, name, value string) map[string]any {
	t.Helper()
	response := s.Do(t, harness.Request{
		Method: http.MethodPost, Path: harness.Collection(namespace), Token: s.AdminToken, Body: body(name, value),
	})
	if response.Code != http.StatusCreated {
		t.Fatalf("create: %d %s", response.Code, response.Body)
	}
	return response.Object(t)
}

// code asks a path with a token and returns the status code.
func code(t *testing.T, s *harness.Server, path, token string) int {
	t.Helper()
	return s.Do(t, harness.Request{Method: http.MethodGet, Path: path, Token: token}).Code
}

// lines splits text into its lines.
func lines(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }
