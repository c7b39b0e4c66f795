// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// watched is a folder that is checked by hand.
type watched struct {
	*reload.File
	t          *testing.T
	authorizer *Authorizer
	log        []string
}

func grants(verb string) string {
	return head + "kind: ClusterRole\nmetadata: {name: r}\nrules: [{apiGroups: [secret.grafana.app], resources: " +
		"[securevalues], verbs: [" + verb + "]}]\n---\n" +
		head + "kind: ClusterRoleBinding\nmetadata: {name: b}\nroleRef: {kind: ClusterRole, name: r}\nsubjects: " +
		"[{kind: User, name: u}]\n"
}

func newWatched(t *testing.T, dir string) *watched {
	t.Helper()
	w := &watched{t: t}
	w.authorizer, w.File = NewFolder(dir, false)
	if err := w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	state := klog.CaptureState()
	klog.SetLogger(funcr.New(func(_, line string) { w.log = append(w.log, line) }, funcr.Options{}))
	t.Cleanup(state.Restore)
	return w
}

// settle checks more often than any change needs.
func (w *watched) settle() {
	for range 5 {
		w.Check(w.t.Context(), false)
	}
}

func (w *watched) wantVerb(verb string) {
	w.t.Helper()
	for _, v := range []string{"get", "list"} {
		if allowed(w.t, w.authorizer, ask(person("u"), v, "n", "securevalues", "", "x")) != (v == verb) {
			w.t.Errorf("want %q and nothing else to be allowed, %q is wrong", verb, v)
		}
	}
}

func (w *watched) wantHealthy(healthy bool) {
	w.t.Helper()
	if err := w.Fault(); (err == nil) != healthy {
		w.t.Errorf("Fault() = %v", err)
	}
}

// TestFoldersAreNamed expects a folder in the folder to be logged once for each set in force, not at every check.
func TestFoldersAreNamed(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{"team-a", "..data"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w := newWatched(t, dir)
	writeFile(t, dir, "a.yaml", grants("get"))
	w.settle()
	w.settle()
	if n := strings.Count(strings.Join(w.log, "\n"), "is not read: move its manifests up"); n != 1 ||
		!strings.Contains(strings.Join(w.log, ""), "team-a") {
		t.Errorf("%d lines about folders:\n%s", n, strings.Join(w.log, "\n"))
	}
}

func TestFolderReloads(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "a.yaml", grants("get"))
	w := newWatched(t, dir)
	before := w.authorizer.current.Load()
	w.settle()
	if w.authorizer.current.Load() != before {
		t.Error("reloaded without a change")
	}
	writeFile(t, dir, "a.yaml", grants("list"))
	w.settle()
	w.wantVerb("list")
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(grants("get")), 0o600); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.wantVerb("get")
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.wantVerb("none")
	w.wantHealthy(true)
}

func TestFolderKeepsTheLastGoodSet(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "a.yaml", grants("get"))
	w := newWatched(t, dir)

	// One good and one broken file: nothing of the set is applied, all faults are on one line.
	writeFile(t, dir, "a.yaml", grants("list"))
	writeFile(t, dir, "b.yaml", "kind: X\n---\nkind: Z\n")
	w.settle()
	w.wantVerb("get")
	w.wantHealthy(false)
	if err := w.Fault(); !strings.Contains(err.Error(), "b.yaml, document 2") {
		t.Errorf("Fault() = %v", err)
	}
	if len(w.log) != 1 || !strings.Contains(w.log[0], `"error"="`) || strings.Contains(w.log[0], `\n`) ||
		!strings.Contains(w.log[0], "last good content stays in force") || !strings.Contains(w.log[0], `\"Z\"`) {
		t.Errorf("want one error of one line, got:\n%q", w.log)
	}
	writeFile(t, dir, "b.yaml", "")
	w.settle()
	w.wantVerb("list")
	w.wantHealthy(true)
}

func TestFolderSurvivesARemovedFolder(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "rbac")
	mkdir := func() {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mkdir()
	writeFile(t, dir, "a.yaml", grants("get"))
	w := newWatched(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.wantVerb("get")
	w.wantHealthy(false)
	mkdir()
	writeFile(t, dir, "a.yaml", grants("get"))
	w.settle()
	w.wantVerb("get")
	w.wantHealthy(true)
	writeFile(t, dir, "a.yaml", grants("list"))
	w.settle()
	w.wantVerb("list")
}

func TestFolderFollowsAConfigMapSwap(t *testing.T) {
	dir := t.TempDir()
	for generation, verb := range map[string]string{"..1": "get", "..2": "list"} {
		if err := os.Mkdir(filepath.Join(dir, generation), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, generation), "a.yaml", grants(verb))
	}
	link(t, "..1", filepath.Join(dir, "..data"))
	link(t, "..data/a.yaml", filepath.Join(dir, "a.yaml"))
	w := newWatched(t, dir)
	w.wantVerb("get")
	link(t, "..2", filepath.Join(dir, "..data_tmp"))
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.wantVerb("list")
}
