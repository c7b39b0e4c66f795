// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// operations is where a rule's runbook_url points.
const operations = "docs/operations.md"

type rule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func rulesFile(t *testing.T) string {
	t.Helper()
	return filepath.Join(harness.Root(t), "config", "alerts", "secret-apiserver.rules.yaml")
}

func readRules(t *testing.T) []rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(harness.ReadFile(t, rulesFile(t)), &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("found no rules")
	}
	return all
}

func testFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(harness.Root(t), "config", "alerts", "tests", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no unit tests of rules: %v", err)
	}
	return files
}

// Each rule tells what is wrong and what to do, and has a case of promtool's for firing and one for not firing.
func TestRulesAreComplete(t *testing.T) {
	t.Parallel()
	const base = "https://github.com/securevalue/secret-apiserver/blob/main/" + operations + "#"
	headings := map[string]bool{}
	text := string(harness.ReadFile(t, filepath.Join(harness.Root(t), operations)))
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		headings[strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-")] = true
	}
	fires, quiet := cases(t)
	for _, r := range readRules(t) {
		anchor, ok := strings.CutPrefix(r.Annotations["runbook_url"], base)
		if !ok || !headings[anchor] {
			t.Errorf("%s: runbook_url %q is not a heading of %s", r.Alert, r.Annotations["runbook_url"], operations)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
			t.Errorf("%s: want a summary, a description and a severity", r.Alert)
		}
		if !fires[r.Alert] || !quiet[r.Alert] {
			t.Errorf("%s: want a case that fires (%t) and one that does not (%t)", r.Alert, fires[r.Alert], quiet[r.Alert])
		}
	}
}

// cases are the alerts with a unit test that fires, and with one that does not.
func cases(t *testing.T) (fires, quiet map[string]bool) {
	t.Helper()
	fires, quiet = map[string]bool{}, map[string]bool{}
	for _, name := range testFiles(t) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Tests []struct {
				AlertRuleTest []struct {
					AlertName string `json:"alertname"`
					ExpAlerts []any  `json:"exp_alerts"`
				} `json:"alert_rule_test"`
			}
		}
		if err := yaml.Unmarshal(data, &file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, test := range file.Tests {
			for _, c := range test.AlertRuleTest {
				if len(c.ExpAlerts) > 0 {
					fires[c.AlertName] = true
				} else {
					quiet[c.AlertName] = true
				}
			}
		}
	}
	return fires, quiet
}
