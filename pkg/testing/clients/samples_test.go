// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// valueLine finds the value of a sample.
var valueLine = regexp.MustCompile(`(?m)^  value: (\S+)$`)

// testSamples applies what config/samples ships, as its comments say.
func testSamples(t *testing.T, s *suite) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(harness.Root(t), "config", "samples", "securevalue*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("want samples, got %v (%v)", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			p := s.person(t)
			text := string(harness.ReadFile(t, file))
			value := valueLine.FindStringSubmatch(text)
			if value == nil {
				t.Fatalf("want a line value: in\n%s", text)
			}
			text = strings.Replace(text, value[1], s.secret(), 1) // so that a leak of it is found
			if strings.Contains(text, "generateName:") {
				contains(t, p.must(text, "create", "--validate=strict", "-f", "-"),
					"securevalue.secret.grafana.app/sample-", " created\n")
				contains(t, names(p), "sample-")
				return
			}
			contains(t, p.must(text, "apply", "--validate=strict", "-f", "-"), " created\n")
			contains(t, p.must(text, "apply", "--server-side", "--validate=strict", "-f", "-"), " serverside-applied\n")
			if a := p.kubectl(text, "diff", "--server-side", "-f", "-"); a.code != 0 {
				t.Errorf("diff of an applied sample: %+v", a)
			}
			p.must(text, "delete", "-f", "-")
		})
	}
}
