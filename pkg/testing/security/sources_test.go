// SPDX-License-Identifier: Apache-2.0

package security

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// forbidden are packages that turn what a user wrote into something that acts, and the files that may use them all the
// same.
var forbidden = map[string][]string{
	"text/template":                   {"pkg/standalone/banner.go"}, // prints the server's own addresses at its start
	"html/template":                   nil,
	"os/exec":                         nil,
	"plugin":                          nil,
	"github.com/Masterminds/sprig/v3": nil,
}

// TestIncident15NothingUserWrittenIsRun: templates of synchronising controllers called functions with I/O and sent
// secrets away in DNS names (CVE-2026-34984, CVE-2026-42875), and controllers acted with rights that their users had
// not (CVE-2024-45041). Nothing here evaluates what a user wrote. The controllers' rights are tested in hack/deploy
// (TestRolesNameEverything).
func TestIncident15NothingUserWrittenIsRun(t *testing.T) {
	root := harness.Root(t)
	files := 0
	for _, top := range []string{"cmd", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil || strings.HasPrefix(name, filepath.Join("pkg", "testing")) {
				return err
			}
			files++
			parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, spec := range parsed.Imports {
				imported, _ := strconv.Unquote(spec.Path.Value) // the parser took it
				if allowed, ok := forbidden[imported]; ok && !slices.Contains(allowed, name) {
					t.Errorf("%s imports %s", name, imported)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were read", files)
	}
}
