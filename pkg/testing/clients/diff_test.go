// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"strings"
	"testing"
)

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
