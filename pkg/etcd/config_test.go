// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A data directory may be anywhere; the sockets then move to a place that can hold them.
func TestSocketPlacement(t *testing.T) {
	for _, tc := range []struct {
		name, sub string
		inDir     bool
	}{
		{"plain", "etcd", true},
		{"long", strings.Repeat("d", 120), false},
		{"space", "my data", false},
		{"percent", "50%2f", false},
		{"comma", "a,b", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("TMPDIR", shortTemp(t))
			dir := filepath.Join(shortTemp(t), tc.sub)
			s := start(t, dir)
			if got := strings.HasPrefix(s.Endpoints()[0], "unix://"+dir+"/"); got != tc.inDir {
				t.Errorf("endpoint %s in the member's directory: %t, want %t", s.Endpoints()[0], got, tc.inDir)
			}
			if _, err := dial(t, s).Put(t.Context(), "/k", "v"); err != nil {
				t.Errorf("Put: %v", err)
			}
			s.Stop()
			if left, _ := os.ReadDir(os.TempDir()); len(left) != 0 {
				t.Errorf("%s is not empty after Stop: %v", os.TempDir(), left)
			}
		})
	}
}

// A crash leaves sockets behind; the next start takes their place.
func TestStaleSocket(t *testing.T) {
	dir := filepath.Join(shortTemp(t), "etcd")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"client.sock", "http.sock", "probe.sock"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dial(t, start(t, dir)).Put(t.Context(), "/k", "v"); err != nil {
		t.Errorf("Put: %v", err)
	}
}

func TestNoPlaceForSockets(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "absent"))
	dir := filepath.Join(t.TempDir(), "my data")
	if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "socket") {
		t.Errorf("Start = %v, want an error about sockets", err)
	}
}

// shortTemp is a temporary directory whose path is short: that of t.TempDir holds the test's name.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
