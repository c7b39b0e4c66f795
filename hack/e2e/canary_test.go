// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestNoCanaryAnywhere writes values in every way that kubectl knows, right and wrong, and searches every file of every
// program: ours, kube-apiserver's with its audit log at RequestResponse, the controller manager's, and both etcds.
func TestNoCanaryAnywhere(t *testing.T) {
	namespace := newNamespace(t)
	var canaries []string
	value := func() string {
		canaries = append(canaries, harness.Canary())
		return canaries[len(canaries)-1]
	}
	inURL := harness.Canary() // kube-apiserver records every URL: docs/cluster.md says so
	type attempt struct {
		stdin string
		args  []string
	}
	for _, a := range []attempt{
		{manifest("a", value()), []string{"create", "-f", "-"}},
		{manifest("a", value()), []string{"create", "-f", "-"}}, // exists
		{manifest("b", value()), []string{"apply", "-f", "-"}},
		{manifest("b", value()), []string{"apply", "-f", "-"}},
		{manifest("b", value()), []string{"apply", "--server-side", "--force-conflicts", "-f", "-"}},
		{manifest("c", value()), []string{"apply", "--server-side", "-f", "-"}},
		{manifest("d", value()), []string{"apply", "--dry-run=server", "-f", "-"}},
		{manifest("b", value()), []string{"diff", "-f", "-"}},
		{manifest("a", value()), []string{"replace", "-f", "-"}},
		{manifest("no-such", value()), []string{"replace", "-f", "-"}},
		{manifest("e", value(), "  decrypters: [nobody]"), []string{"create", "-f", "-"}},
		{manifest("e", value(), "  valeu: "+value()), []string{"create", "-f", "-"}},
		{manifest("e", value(), "  valeu: "+value()), []string{"create", "--validate=ignore", "-f", "-"}},
		{manifest("e", "["+value()+"]"), []string{"create", "--validate=ignore", "-f", "-"}},
		{manifest("b", value(), "  valeu: "+value()), []string{"apply", "--server-side", "-f", "-"}},
		{"", []string{"patch", "sv", "a", "--type=merge", "-p", `{"spec":{"value":"` + value() + `"}}`}},
		{"", []string{"patch", "sv", "a", "--type=merge", "-p", `{"spec":{"valeu":"` + value() + `"}}`}},
		{"", []string{"patch", "sv", "a", "--type=json", "-p", `[{"op":"replace","path":"/spec/value","value":"` + value() + `"}]`}},
		{"", []string{"patch", "sv", "a", "--type=json", "-p", `[{"op":"test","path":"/spec/description","value":"` + value() + `"}]`}},
		{"", []string{"get", "sv", "--field-selector=spec.value=" + inURL}},
		{"", []string{"get", "--raw", harness.Collection(namespace) + "?fieldSelector=spec.value%3D" + inURL}},
	} {
		stdout, stderr, _ := kubectl(t, a.stdin, append(a.args, "-n", namespace)...)
		if echoes(a.args) {
			continue
		}
		for stream, text := range map[string]string{"standard output": stdout, "standard error": stderr} {
			for _, found := range harness.Find([]byte(text), canaries...) {
				t.Errorf("%s of kubectl %v holds %s", stream, a.args, found)
			}
		}
	}
	control := strings.ToLower(harness.Canary())
	mustKubectl(t, "", "create", "configmap", control, "-n", namespace)

	dir := filepath.Dir(server.Dir)
	seen := map[string]bool{}
	searchFiles(t, dir, func(name string, data []byte) {
		if len(harness.Find(data, control)) > 0 {
			seen[name] = true
		}
		search := canaries
		if !strings.HasPrefix(name, "cluster/kube-audit") {
			search = append(search, inURL)
		}
		for _, found := range harness.Find(data, search...) {
			t.Errorf("%s holds %s", name, found)
		}
	})
	if !seen["cluster/kube-audit.log"] {
		t.Errorf("the search finds no control in kube-apiserver's audit log, only in %v", seen)
	}
}

// echoes says whether kubectl itself repeats what the user gave it: the manifest of a diff, a selector in its own
// error.
func echoes(args []string) bool {
	return args[0] == "diff" || strings.HasPrefix(args[len(args)-1], "--field-selector")
}

// searchFiles reads every file of the run but certificates, keys and kubeconfigs.
func searchFiles(t *testing.T, dir string, search func(name string, data []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err):
			return nil // of a running database
		case err != nil || !entry.Type().IsRegular():
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil {
			search(name, harness.ReadFile(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
