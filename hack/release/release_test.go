// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-platforms", "linux/amd64,darwin/arm64"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.platforms, []platform{{"linux", "amd64"}, {"darwin", "arm64"}}) || o.out != "dist" || o.dirty {
		t.Errorf("options %+v", o)
	}
	for _, args := range [][]string{{"-platforms", "linux"}, {"-platforms", ""}, {"-programs", "surprise"}, {"stray"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

// Settings that would change bytes do not reach the compiler; those that say where modules are do.
func TestEnvironment(t *testing.T) {
	got := environment(
		[]string{"PATH=/bin", "HOME=/home/me", "GOFLAGS=-tags=x", "GOAMD64=v4", "CGO_ENABLED=1", "GOPROXY=lost", "GOEXPERIMENT=x", "TZ=Asia/Tokyo"},
		map[string]string{"GOPROXY": "https://proxy.example.com", "GOPRIVATE": ""}, tree{date: date})
	want := slices.Concat([]string{"PATH=/bin", "HOME=/home/me", "GOPROXY=https://proxy.example.com"}, fixed,
		[]string{"LC_ALL=C", "TZ=UTC", "SOURCE_DATE_EPOCH=1700000000"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

// A tree with a file that no commit has is refused by name, and taken when that is asked for.
func TestReadTreeRefusesChanges(t *testing.T) {
	root := t.TempDir()
	t.Chdir(root)
	write(t, filepath.Join(root, "hack", "version-ldflags.sh"), "#!/bin/sh\necho '-X k8s.io/component-base/version.gitVersion=v1.37.2+v0.3.0-rc.1 -s'\n")
	if err := os.Chmod("hack/version-ldflags.sh", 0o700); err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) {
		t.Helper()
		env := append(os.Environ(), "GIT_COMMITTER_DATE=1700000000 +0900")
		if _, err := output(t.Context(), root, env, "git", append([]string{"-c", "user.name=n", "-c", "user.email=n@example.com"}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "--quiet")
	git("add", ".")
	git("-c", "commit.gpgsign=false", "commit", "--quiet", "--message", "x")
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	got, err := readTree(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if got.version != "v0.3.0-rc.1" || !got.date.Equal(date) || len(got.commit) != 40 {
		t.Errorf("tree %+v", got)
	}
	write(t, filepath.Join(root, "surprise.go"), "package x")
	if _, err := readTree(t.Context(), false); err == nil || !strings.Contains(err.Error(), "surprise.go") || !strings.Contains(err.Error(), "-dirty") {
		t.Errorf("a tree with a new file: %v", err)
	}
	if _, err := readTree(t.Context(), true); err != nil {
		t.Errorf("with -dirty: %v", err)
	}
}

const sbomText = `{"bomFormat": "CycloneDX", "metadata": {
	"tools": [{"name": "cyclonedx-gomod", "hashes": [{"alg": "MD5"}]}],
	"component": {"name": "ours", "evidence": {"licenses": []}}},
	"components": [{"name": "std"}, {"name": "other", "evidence": {"licenses": [{"license": {"id": "MIT"}}]}}]}`

func TestSettle(t *testing.T) {
	settled, err := settle([]byte(sbomText), date)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(settled, &got); err != nil {
		t.Fatal(err)
	}
	licensed := func(id string) []any { return []any{map[string]any{"license": map[string]any{"id": id}}} }
	want := map[string]any{
		"bomFormat": "CycloneDX",
		"metadata": map[string]any{
			"timestamp": "2023-11-14T22:13:20Z", "tools": []any{map[string]any{"name": "cyclonedx-gomod"}},
			"component": map[string]any{"name": "ours", "licenses": licensed("Apache-2.0")},
		},
		"components": []any{
			map[string]any{"name": "std", "licenses": licensed("BSD-3-Clause")},
			map[string]any{"name": "other", "evidence": map[string]any{"licenses": licensed("MIT")}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("SBOM (-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"a part without a licence": strings.Replace(sbomText, `"evidence": {"licenses": [{`, `"x": {"licenses": [{`, 1),
		"nothing in it":            `{"metadata": {}}`,
		"no JSON":                  `x`,
	} {
		if _, err := settle([]byte(text), date); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestNotices(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a", "LICENSE.md"), "terms\r\n")
	write(t, filepath.Join(dir, "b", "COPYING"), "terms\n")
	write(t, filepath.Join(dir, "b", "NOTICE"), "by b\n")
	write(t, filepath.Join(dir, "c", "licenses.go"), "package c")
	holders := map[string][]string{}
	for _, name := range []string{"b", "a"} {
		if err := addLicences(holders, "example.com/"+name+" v1", filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	rule := strings.Repeat("=", 80) + "\n"
	want := "x contains the following software of others, under the licences below.\n\n" +
		rule + "example.com/a v1\nexample.com/b v1\n" + rule + "\nterms\n\n" + rule + "example.com/b v1\n" + rule + "\nby b\n"
	if diff := cmp.Diff(want, string(printNotices("x", holders))); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
	if err := addLicences(holders, "example.com/c v1", filepath.Join(dir, "c")); err == nil || !strings.Contains(err.Error(), "example.com/c v1") {
		t.Errorf("a module without a licence: %v", err)
	}
}

// The manual has a page for each command and nothing of the machine that builds it: neither its home directory nor its
// date.
func TestManual(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	entries, err := manual("v0.3.0", date, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	texts := map[string]string{}
	for _, e := range entries {
		names = append(names, e.name)
		text := e.data
		if e.file != "" {
			if text, err = os.ReadFile(e.file); err != nil {
				t.Fatal(err)
			}
		}
		texts[e.name] = string(text)
		if strings.Contains(string(text), "/home/me") {
			t.Errorf("%s has the home directory", e.name)
		}
	}
	page := func(command string) string { return "man/man1/kubectl-securevalue" + command + ".1" }
	pages := []string{page(""), page("-audit-verify"), page("-who-can-decrypt"), page("-completion-bash")}
	for _, want := range append(pages, "kubectl_complete-securevalue") {
		if !slices.Contains(names, want) {
			t.Errorf("no %s among %v", want, names)
		}
	}
	create := strings.ReplaceAll(texts[page("-create")], `\-`, "-")
	expected := map[string]bool{"Nov 2023": true, "--from-stdin": true, "$HOME/.kube/cache": true, "--value": false}
	for text, want := range expected {
		if strings.Contains(create, text) != want {
			t.Errorf("the page of create has %q: %t", text, !want)
		}
	}
	scripts := map[string]string{"bash": "__start_kubectl-securevalue", "zsh": "#compdef", "fish": "complete -c"}
	for shell, want := range scripts {
		if !strings.Contains(texts["completions/kubectl-securevalue."+shell], want) {
			t.Errorf("the completion for %s lacks %q", shell, want)
		}
	}
}
