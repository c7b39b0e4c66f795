// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func testWrite(t *testing.T, s *suite) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*person)
	}{
		{"create", testKubectlCreate},
		{"label and annotate", testKubectlLabel},
		{"patch", testKubectlPatch},
		{"replace", testKubectlReplace},
		{"edit", testKubectlEdit},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(s.person(t)) })
	}
}

func testKubectlCreate(p *person) {
	m := manifest{name: "made", value: p.suite.secret()}
	equal(p.t, "create", p.must(m.String(), "create", "--validate=strict", "-f", "-"),
		"securevalue.secret.grafana.app/made created\n")
	contains(p.t, p.refused(m.String(), "create", "-f", "-"), "(AlreadyExists)", `"made" already exists`)
	equal(p.t, "dry run", p.must(manifest{name: "dry", value: p.suite.secret()}.String(), "create", "--dry-run=server",
		"-f", "-"),
		"securevalue.secret.grafana.app/dry created (server dry run)\n")
	p.refused("", "get", "sv", "dry")
	shown := p.must(manifest{name: "shown", value: p.suite.secret()}.String(), "create", "-o", "yaml", "-f", "-")
	contains(p.t, shown, "  name: shown\n", "  version: 1\n", "  keeper: system\n", "grafana.app/createdBy: ")
	p.must(manifest{name: "saved", value: p.suite.secret()}.String(), "create", "--save-config", "-f", "-")
	contains(p.t, p.field("saved", `{.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}`),
		`"description":"made by a test"`)
}

func testKubectlLabel(p *person) {
	p.create(manifest{name: "x"})
	p.must("", "label", "sv", "x", "team=red", "env=test")
	p.must("", "label", "sv", "x", "--overwrite", "team=blue")
	p.must("", "label", "sv", "x", "env-")
	equal(p.t, "labels", p.field("x", "{.metadata.labels}"), `{"team":"blue"}`)
	contains(p.t, p.refused("", "label", "sv", "x", "team=green"), "already has a value")
	p.must("", "annotate", "sv", "x", "note=one")
	p.must("", "annotate", "sv", "-l", "team=blue", "--overwrite", "note=two")
	equal(p.t, "annotation", p.field("x", "{.metadata.annotations.note}"), "two")
	p.must("", "annotate", "sv", "x", "note-")
	equal(p.t, "annotation", p.field("x", "{.metadata.annotations.note}"), "")
	equal(p.t, "status.version", p.version(), "1")
}

func testKubectlPatch(p *person) {
	p.create(manifest{name: "x", decrypters: []string{"k6-cloud", "synthetic-monitoring"}})
	version := []string{"1", "2"}
	for _, kind := range []string{"merge", "strategic"} {
		patch := func(body string) { p.must("", "patch", "sv", "x", "--type="+kind, "-p", body) }
		patch(`{"spec":{"description":"` + kind + `"}}`)
		equal(p.t, kind+" description", p.field("x", "{.spec.description}"), kind)
		equal(p.t, kind+" without a value", p.version(), version[0])
		patch(`{"spec":{"value":"` + p.suite.secret() + `"}}`)
		equal(p.t, kind+" with a value", p.version(), version[1])
		version = []string{"2", "3"}
	}
	p.must("", "patch", "sv", "x", "--type=json", "-p",
		`[{"op":"replace","path":"/spec/description","value":"json"},{"op":"remove","path":"/spec/decrypters/0"}]`)
	equal(p.t, "JSON patch without a value", p.version(), "3")
	p.must("", "patch", "sv", "x", "--type=json", "-p",
		`[{"op":"add","path":"/spec/value","value":"`+p.suite.secret()+`"}]`)
	equal(p.t, "JSON patch with a value", p.version(), "4")
	equal(p.t, "spec", p.field("x", "{.spec}"), `{"decrypters":["synthetic-monitoring"],"description":"json"}`)
}

func testKubectlReplace(p *person) {
	p.create(manifest{name: "x", labels: map[string]string{"old": "yes"}})
	p.must(manifest{name: "x", value: p.suite.secret(), description: "replaced"}.String(), "replace", "-f", "-")
	equal(p.t, "status.version", p.version(), "2")
	equal(p.t, "labels", p.field("x", "{.metadata.labels}"), "")
	stored := manifest{name: "x", description: "read, changed, written",
		resourceVersion: p.field("x", "{.metadata.resourceVersion}")}
	p.must(stored.String(), "replace", "-f", "-")
	equal(p.t, "description", p.field("x", "{.spec.description}"), "read, changed, written")
	equal(p.t, "status.version of a kept value", p.version(), "2")
	contains(p.t, p.refused(stored.String(), "replace", "-f", "-"), "(Conflict)", "the object has been modified")
	contains(p.t, p.refused(manifest{name: "absent", value: p.suite.secret()}.String(), "replace", "-f", "-"),
		"(NotFound)")
	p.must(manifest{name: "x", value: p.suite.secret()}.String(), "replace", "--force", "-f", "-")
	equal(p.t, "status.version of a new object", p.version(), "1")
}

func testKubectlEdit(p *person) {
	p.create(manifest{name: "x", description: "before"})
	edit := func(sed string) answer {
		script, _ := json.Marshal("s/" + sed + "/")
		p.env = []string{"KUBE_EDITOR=" + editor(p.t, "sed -i "+string(script)+` "$1"`)}
		return p.kubectl("", "edit", "sv", "x")
	}
	if a := edit("before/after"); a.code != 0 || a.out != "securevalue.secret.grafana.app/x edited\n" {
		p.t.Errorf("edit: %+v", a)
	}
	equal(p.t, "description", p.field("x", "{.spec.description}"), "after")
	equal(p.t, "status.version", p.version(), "1")
	if a := edit("^  description/  value: " + p.suite.secret() + "\\n  description"); a.code != 0 {
		p.t.Errorf("edit with a value: %+v", a)
	}
	equal(p.t, "status.version after an edit with a value", p.version(), "2")
	if a := edit("nothing/nothing"); a.code != 0 || a.errs != "Edit cancelled, no changes made.\n" {
		p.t.Errorf("edit of nothing: %+v", a)
	}
	if a := edit("description: after/description: a description of more than 25 characters"); a.code == 0 {
		p.t.Errorf("edit that is invalid: %+v", a)
	}
	equal(p.t, "description after a refused edit", p.field("x", "{.spec.description}"), "after")
}

// editor writes a script that stands for the person's editor.
func editor(t *testing.T, line string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "editor.sh")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+line+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

func testDelete(t *testing.T, s *suite) {
	t.Helper()
	p := s.person(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		p.create(manifest{name: name, labels: map[string]string{"is-b": map[bool]string{true: "yes",
			false: "no"}[name == "b"]}})
	}
	equal(t, "dry run", p.must("", "delete", "sv", "a", "--dry-run=server"),
		`securevalue.secret.grafana.app "a" deleted from `+p.namespace+" namespace (server dry run)\n")
	equal(t, "after the dry run", names(p), "a b c d e")
	equal(t, "delete", p.must("", "delete", "sv", "a"),
		`securevalue.secret.grafana.app "a" deleted from `+p.namespace+" namespace\n")
	equal(t, "after delete", names(p), "b c d e")
	p.must("", "delete", "sv", "-l", "is-b=yes")
	equal(t, "after delete -l", names(p), "c d e")
	p.must(manifest{name: "c"}.String(), "delete", "-f", "-")
	equal(t, "after delete -f", names(p), "d e")
	p.must("", "delete", "sv", "--field-selector=metadata.name=d")
	equal(t, "after delete --field-selector", names(p), "e")
	p.create(manifest{name: "f"})
	p.must("", "delete", "sv", "--all")
	equal(t, "after delete --all", names(p), "")
	contains(t, p.refused("", "delete", "sv", "a"), "(NotFound)")
	equal(t, "delete of nothing", p.must("", "delete", "sv", "a", "--ignore-not-found"), "")
	t.Run("cascade", func(t *testing.T) { testCascade(s.person(t)) })
	t.Run("wait", func(t *testing.T) { testWait(s.person(t)) })
}

func names(p *person) string {
	p.t.Helper()
	return p.must("", "get", "sv", "-o", "jsonpath={.items[*].metadata.name}")
}

// testCascade deletes and waits with every policy: nothing would ever remove a finalizer of the garbage collector here.
func testCascade(p *person) {
	for _, how := range [][]string{
		{"sv/x", "--cascade=foreground"}, {"sv/x", "--cascade=orphan"}, {"sv/x", "--cascade=background"},
		{"sv", "--all", "--cascade=foreground"}, {"sv", "-l", "cascade=yes", "--cascade=orphan"},
	} {
		p.create(manifest{name: "x", labels: map[string]string{"cascade": "yes"}})
		contains(p.t, p.must("", append([]string{"delete", "--timeout=60s"}, how...)...), `"x" deleted`)
		equal(p.t, "after delete "+how[len(how)-1], names(p), "")
	}
}

// testWait starts kubectl wait before what it waits for happens.
func testWait(p *person) {
	p.create(manifest{name: "x"})
	const timeout = "--timeout=60s"
	p.must("", "wait", "sv/x", "--for=jsonpath={.status.version}=1", timeout)
	waiting := func(forWhat string) func() {
		command := p.command("wait", "sv/x", "--for="+forWhat, timeout)
		if err := command.Start(); err != nil {
			p.t.Fatal(err)
		}
		return func() {
			p.t.Helper()
			if err := command.Wait(); err != nil {
				p.t.Errorf("kubectl wait --for=%s: %v", forWhat, err)
			}
		}
	}
	done := waiting("jsonpath={.status.version}=2")
	p.must("", "patch", "sv", "x", "--type=merge", "-p", `{"spec":{"value":"`+p.suite.secret()+`"}}`)
	done()
	// Nothing can be deleted while the finalizer is there, so that the wait is in progress when it is removed.
	p.must("", "patch", "sv", "x", "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/hold"]}}`)
	p.must("", "delete", "sv", "x", "--wait=false")
	done = waiting("delete")
	p.must("", "patch", "sv", "x", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	done()
	contains(p.t, p.refused("", "get", "sv", "x"), "(NotFound)")
	p.must("", "wait", "sv/x", "--for=delete", timeout)
}
