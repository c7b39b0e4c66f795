// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"encoding/json"
	"strings"
	"testing"
)

const lastApplied = `{.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}`

func testApply(t *testing.T, s *suite) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*person)
	}{
		{"client side", testClientSide},
		{"server side", testServerSide},
		{"conflict", testConflict},
		{"from client side to server side", testMigration},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(s.person(t)) })
	}
}

func (p *person) apply(m manifest, flags ...string) string {
	p.t.Helper()
	return p.must(m.String(), append([]string{"apply", "--validate=strict", "-f", "-"}, flags...)...)
}

// testClientSide applies, applies again, and takes away what the manifest no longer names.
func testClientSide(p *person) {
	m := manifest{
		name: "x", value: p.suite.secret(), decrypters: []string{"k6-cloud", "synthetic-monitoring"},
		labels: map[string]string{"team": "red", "env": "test"},
	}
	equal(p.t, "first apply", p.apply(m), "securevalue.secret.grafana.app/x created\n")
	// The manifest names a value and no read shows one, so for kubectl there is always something to write.
	equal(p.t, "second apply", p.apply(m), "securevalue.secret.grafana.app/x configured\n")
	equal(p.t, "status.version", p.version(), "2")
	var applied struct {
		Spec map[string]any `json:"spec"`
	}
	if err := json.Unmarshal([]byte(p.field("x", lastApplied)), &applied); err != nil {
		p.t.Fatal(err)
	}
	if _, ok := applied.Spec["value"]; ok || applied.Spec["description"] != "made by a test" {
		p.t.Errorf("last applied: %v", applied.Spec)
	}
	m.labels, m.decrypters = map[string]string{"team": "red"}, []string{"synthetic-monitoring"}
	p.apply(m)
	equal(p.t, "pruned labels", p.field("x", "{.metadata.labels}"), `{"team":"red"}`)
	equal(p.t, "pruned decrypters", p.field("x", "{.spec.decrypters}"), `["synthetic-monitoring"]`)
	m.decrypters = nil
	p.apply(m)
	equal(p.t, "no decrypters", p.field("x", "{.spec.decrypters}"), "")
	p.must("", "apply", "view-last-applied", "sv", "x")
	m.value = ""
	version := p.version()
	equal(p.t, "apply without a value", p.apply(m), "securevalue.secret.grafana.app/x unchanged\n")
	m.description = "changed"
	equal(p.t, "apply of a description", p.apply(m), "securevalue.secret.grafana.app/x configured\n")
	equal(p.t, "status.version of a kept value", p.version(), version)
}

// testServerSide applies with one manager, which owns the fields that it names but for the value.
func testServerSide(p *person) {
	m := manifest{name: "x", value: p.suite.secret(), decrypters: []string{"k6-cloud"},
		labels: map[string]string{"team": "red", "env": "test"}}
	equal(p.t, "first apply", p.apply(m, "--server-side"), "securevalue.secret.grafana.app/x serverside-applied\n")
	p.apply(m, "--server-side")
	equal(p.t, "status.version", p.version(), "2")
	fields := p.must("", "get", "sv", "x", "--show-managed-fields", "-o",
		"jsonpath={.metadata.managedFields[*].fieldsV1}")
	contains(p.t, fields, `"f:description"`, `"f:decrypters"`)
	for _, field := range []string{"f:value", "f:status"} {
		if strings.Contains(fields, field) {
			p.t.Errorf("%s is managed: %s", field, fields)
		}
	}
	m.labels, m.decrypters = map[string]string{"team": "red"}, nil
	p.apply(m, "--server-side")
	equal(p.t, "pruned labels", p.field("x", "{.metadata.labels}"), `{"team":"red"}`)
	equal(p.t, "pruned decrypters", p.field("x", "{.spec.decrypters}"), "")
	m.value = ""
	version := p.version()
	p.apply(m, "--server-side")
	equal(p.t, "status.version of a kept value", p.version(), version)
}

// testConflict applies one object by two managers.
func testConflict(p *person) {
	m := manifest{name: "x", value: p.suite.secret(), description: "of the first"}
	p.apply(m, "--server-side", "--field-manager=first")
	m.value = p.suite.secret()
	p.apply(m, "--server-side", "--field-manager=second")
	equal(p.t, "another value is not a conflict", p.version(), "2")
	m.value, m.description = p.suite.secret(), "of the second"
	text := p.refused(m.String(), "apply", "--server-side", "--field-manager=second", "-f", "-")
	contains(p.t, text, `conflict with "first"`, ".spec.description")
	if strings.Contains(text, ".spec.value") {
		p.t.Errorf("a conflict about the value: %s", text)
	}
	equal(p.t, "description", p.field("x", "{.spec.description}"), "of the first")
	equal(p.t, "status.version after a refusal", p.version(), "2")
	p.apply(m, "--server-side", "--field-manager=second", "--force-conflicts")
	equal(p.t, "description", p.field("x", "{.spec.description}"), "of the second")
	equal(p.t, "status.version", p.version(), "3")
}

// testMigration goes from client-side to server-side apply with one manifest, and back.
func testMigration(p *person) {
	m := manifest{name: "x", value: p.suite.secret(), labels: map[string]string{"team": "red", "env": "test"}}
	p.apply(m)
	m.value = p.suite.secret()
	p.apply(m, "--server-side")
	equal(p.t, "status.version", p.version(), "3") // kubectl applies twice when it takes fields over
	m.labels = map[string]string{"team": "red"}
	p.apply(m, "--server-side")
	equal(p.t, "labels pruned on the server", p.field("x", "{.metadata.labels}"), `{"team":"red"}`)
	m.value, m.description = p.suite.secret(), "client side again"
	p.apply(m)
	equal(p.t, "description", p.field("x", "{.spec.description}"), "client side again")
	equal(p.t, "status.version", p.version(), "5")
}

// testDiff shows that what cannot be read is never a difference, and what can be read is.
func testDiff(t *testing.T, s *suite) {
	t.Helper()
	for _, mode := range []string{"--server-side=false", "--server-side=true"} {
		t.Run(mode, func(t *testing.T) {
			p := s.person(t)
			diff := func(m manifest) answer { return p.kubectl(m.String(), "diff", mode, "-f", "-") }
			m := manifest{name: "x", value: s.secret(), labels: map[string]string{"team": "red"}}
			if a := diff(m); a.code != 1 || !strings.Contains(a.out, "+  description: made by a test") {
				t.Errorf("before the object exists: %+v", a)
			}
			p.apply(m, mode)
			if a := diff(m); a.code != 0 || a.out+a.errs != "" {
				t.Errorf("the manifest that was applied: %+v", a)
			}
			m.value = s.secret()
			if a := diff(m); a.code != 0 || a.out+a.errs != "" {
				t.Errorf("another value: %+v", a)
			}
			m.description = "changed"
			a := diff(m)
			contains(t, a.out, "-  description: made by a test", "+  description: changed")
			if a.code != 1 || a.errs != "" {
				t.Errorf("another description: %+v", a)
			}
			m.description, m.annotations = "", map[string]string{"secret.grafana.app/value-revision": "2"}
			a = diff(m)
			contains(t, a.out, `+    secret.grafana.app/value-revision: "2"`)
			if a.code != 1 || a.errs != "" {
				t.Errorf("another value-revision: %+v", a)
			}
			equal(t, "status.version", p.version(), "1")
		})
	}
}
