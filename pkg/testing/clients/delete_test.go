// SPDX-License-Identifier: Apache-2.0

package clients

import "testing"

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
