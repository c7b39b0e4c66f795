// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// sampleValue stands in every shipped sample.
const sampleValue = "replace-this-by-your-own-secret"

// testSamples applies what config/samples ships, as its comments say.
func testSamples(t *testing.T, s *suite) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(harness.Root(t), "config", "samples", "securevalue*.yaml"))
	if err != nil || len(files) != 4 {
		t.Fatalf("want 4 samples, got %v (%v)", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			p := s.person(t)
			text := string(harness.ReadFile(t, file))
			if strings.Count(text, sampleValue) != 1 {
				t.Fatalf("want the value %q once in\n%s", sampleValue, text)
			}
			text = strings.Replace(text, sampleValue, s.secret(), 1) // so that a leak of it is found
			if strings.Contains(text, "generateName:") {
				contains(t, p.must(text, "create", "--validate=strict", "-f", "-"), "securevalue.secret.grafana.app/sample-", " created\n")
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
