// SPDX-License-Identifier: Apache-2.0

package security

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// incidents is how many rows the table of docs/security-model.md has.
const incidents = 23

var (
	function  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	incident  = regexp.MustCompile(`(?m)^\| (\d+) \| (.+) \| (.+) \| (.+) \|$`)
	testName  = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
	namedPath = regexp.MustCompile("`((?:pkg|cmd|config|deploy|hack)(?:/[\\w./-]+)?)`")
	numbered  = regexp.MustCompile(`(?m)^\| ([A-Z]\d+) \|`)
	reference = regexp.MustCompile(`\b([ABCOT]\d+)\b`)
)

// tests are the names of all tests of this repository, those of the nested modules too.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, top := range []string{"cmd", "pkg", "hack"} {
		err := filepath.WalkDir(filepath.Join(harness.Root(t), top), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			for _, match := range function.FindAllSubmatch(harness.ReadFile(t, path), -1) {
				found[string(match[1])] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func model(t *testing.T) string {
	t.Helper()
	text := string(harness.ReadFile(t, filepath.Join(harness.Root(t), "docs", "security-model.md")))
	if text == "" {
		t.Fatal("docs/security-model.md is empty or away")
	}
	return text
}

// TestEveryIncidentHasATest holds the table of incidents and the tests together, both ways.
func TestEveryIncidentHasATest(t *testing.T) {
	existing, listed := tests(t), map[string]bool{}
	rows := incident.FindAllStringSubmatch(model(t), -1)
	if len(rows) != incidents {
		t.Errorf("the table has %d rows, want %d", len(rows), incidents)
	}
	for i, row := range rows {
		number, where, here := row[1], row[3], row[4]
		if number != strconv.Itoa(i+1) {
			t.Errorf("row %d is numbered %s", i+1, number)
		}
		if where == "" {
			t.Errorf("row %s names no public source", number)
		}
		own := false
		prefix := "TestIncident" + strings.Repeat("0", 2-len(number)) + number
		for _, name := range testName.FindAllStringSubmatch(here, -1) {
			listed[name[1]] = true
			own = own || strings.HasPrefix(name[1], prefix)
		}
		if !own && !strings.Contains(here, "cannot apply:") {
			t.Errorf("row %s names no %s…, and does not say why it cannot apply", number, prefix)
		}
	}
	for name := range existing {
		if strings.HasPrefix(name, "TestIncident") && !listed[name] {
			t.Errorf("%s is in no row of docs/security-model.md", name)
		}
	}
}

// TestSecurityModel asks that every test, path and number that the page refers to exists, and that every control is
// used.
func TestSecurityModel(t *testing.T) {
	text, existing := model(t), tests(t)
	for _, match := range testName.FindAllStringSubmatch(text, -1) {
		if !existing[match[1]] {
			t.Errorf("no test is named %s", match[1])
		}
	}
	for _, match := range namedPath.FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join(harness.Root(t), match[1])); err != nil {
			t.Errorf("the page names %s: %v", match[1], err)
		}
	}
	defined, used := map[string]int{}, map[string]int{}
	for _, match := range numbered.FindAllStringSubmatch(text, -1) {
		defined[match[1]]++
	}
	for _, match := range reference.FindAllStringSubmatch(text, -1) {
		used[match[1]]++
	}
	for number, times := range defined {
		if times != 1 {
			t.Errorf("%s is defined %d times", number, times)
		}
		if number[0] == 'C' && used[number] < 2 {
			t.Errorf("%s stands against no threat", number)
		}
	}
	for number := range used {
		if defined[number] == 0 {
			t.Errorf("%s is not defined", number)
		}
	}
	if len(defined) < 40 {
		t.Errorf("only %d numbered lines", len(defined))
	}
}

// forbidden are packages that turn what a user wrote into something that acts, and the files that may use them all the
// same.
var forbidden = map[string][]string{
	"text/template":                   {"pkg/standalone/banner.go"}, // prints the server's own addresses at its start
	"html/template":                   nil,
	"os/exec":                         {"pkg/agent/run.go"}, // starts the command that its Pod names
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
