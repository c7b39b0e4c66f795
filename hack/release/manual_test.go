// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

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
