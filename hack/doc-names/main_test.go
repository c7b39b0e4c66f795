// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

// A name in a comment must be declared, used, or quoted in a string; a word of the list passes.
func TestCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	source := `// Package a is on GitHub.
package a

// oldName was renamed; newName is what it is called, and its JSON name is someField.
func newName() string { return "someField" }
`
	if err := os.WriteFile("a.go", []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "git", "init", "--quiet").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err := check(t.Context())
	if want := []string{"a.go:4:1: oldName"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}
