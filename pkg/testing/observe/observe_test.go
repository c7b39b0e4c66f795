// SPDX-License-Identifier: Apache-2.0

//go:build observe

package observe

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// withoutData are the selectors of rules that select nothing of a server that is well, and why. One whose KMS is away
// has data for each of them.
var withoutData = map[string]string{
	`apiserver_request_total{job="secret-apiserver",group="secret.grafana.app",code=~"5.."}`: "no request fails in this workload",
	`secret_decrypt_requests_total{job="secret-apiserver",code=~"50[0-3]"}`:                  "no request fails in this workload",
}

// mayBePending are alerts about speed, of which a busy test machine proves nothing.
var mayBePending = []string{"SecretEtcdSlow"}

// promtool accepts the rules, and their unit tests pass.
func TestRulesByPromtool(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", rulesFile(t))
	promtool(t, append([]string{"test", "rules"}, testFiles(t)...)...)
}

// A Prometheus that is set up as docs/metrics.md says has data for each query of the dashboard and each series of a
// rule, is silent about a server that is well, tells of one that is not, and holds no part of a value.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	w := startWorkload(t)
	p := scrape(t, w, serveControllerMetrics(t).URL)
	harness.Eventually(t, "both jobs are scraped", func() bool { return len(p.query(t, "up == 1")) == 2 })
	w.rotate(t)

	missing := append(dashboardQueries(t), selectors(t)...)
	round := 0
	harness.Eventually(t, "each query has data; the rest is logged", func() bool {
		w.traffic(t, round)
		round++
		missing = slices.DeleteFunc(missing, func(query string) bool { return len(p.query(t, query)) > 0 })
		return len(missing) == 0 || t.Failed() || lastRound(t, round, missing)
	})
	for selector, reason := range withoutData {
		if len(p.query(t, selector)) > 0 {
			t.Errorf("%s has data, though %s: take it out of withoutData", selector, reason)
		}
	}
	p.wantRules(t)
	if alerts := p.alerts(t); len(alerts) > 0 {
		t.Errorf("alerts about a server that is well: %q", alerts)
	}
	w.wantAlerts(t, p)
	w.wantNoLeaks(t, p)
}

// rounds is after how many rounds of traffic a query that has no data never will: each brings more than one scrape.
const rounds = 40

func lastRound(t *testing.T, round int, missing []string) bool {
	t.Helper()
	if round < rounds {
		return false
	}
	t.Errorf("without data:\n%s", strings.Join(missing, "\n"))
	return true
}

// traffic is one round of what clients do, mistakes included.
func (w *workload) traffic(t *testing.T, round int) {
	t.Helper()
	w.create(t, fmt.Sprintf("more-%d", round), "k6-cloud")
	w.decryptAll(t)
	for _, path := range []string{"", "/open-0", "/absent"} {
		w.Get(t, harness.Collection("default")+path, w.AdminToken)
	}
}

// dashboardQueries are the expressions of all panels with their variables set. Each panel must use the chosen data
// source.
func dashboardQueries(t *testing.T) []string {
	t.Helper()
	type source struct{ UID string }
	var dashboard struct {
		Panels []struct {
			Type, Title string
			Datasource  source
			Targets     []struct {
				Expr       string
				Datasource source
			}
		}
	}
	file := filepath.Join(harness.Root(t), "config", "dashboards", "secret-apiserver.json")
	if err := json.Unmarshal(harness.ReadFile(t, file), &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*")
	var queries []string
	for _, panel := range dashboard.Panels {
		if panel.Type == "row" {
			continue
		}
		if len(panel.Targets) == 0 || panel.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q has no query, or not the data source that was chosen", panel.Title)
		}
		for _, target := range panel.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q has a query of another data source", panel.Title)
			}
			query := variables.Replace(target.Expr)
			if strings.Contains(query, "$") {
				t.Errorf("panel %q has a variable that nobody sets: %s", panel.Title, query)
			}
			queries = append(queries, query)
		}
	}
	if len(queries) == 0 {
		t.Fatal("the dashboard has no queries")
	}
	return queries
}

// selector finds what an expression reads.
var selector = regexp.MustCompile(`\b(?:(?:secret|apiserver|etcd)_\w+|up)\b(?:\{[^}]*\})?`)

// selectors are what the rules read: an alert that reads nothing never fires.
func selectors(t *testing.T) []string {
	t.Helper()
	all := map[string]bool{}
	for _, r := range readRules(t) {
		found := selector.FindAllString(r.Expr, -1)
		if len(found) == 0 {
			t.Errorf("%s reads nothing: %s", r.Alert, r.Expr)
		}
		for _, s := range found {
			if withoutData[s] == "" {
				all[s] = true
			}
		}
	}
	list := make([]string, 0, len(all))
	for s := range all {
		list = append(list, s)
	}
	return list
}

// wantRules evaluates each expression, and wants Prometheus to have done so by itself without an error.
func (p *prometheus) wantRules(t *testing.T) {
	t.Helper()
	rules := readRules(t)
	for _, r := range rules {
		p.query(t, r.Expr)
	}
	type loaded struct{ Name, Health, LastError string }
	harness.Eventually(t, "Prometheus has evaluated every rule", func() bool {
		var data struct{ Groups []struct{ Rules []loaded } }
		if err := p.get(t, "/api/v1/rules", &data); err != nil {
			t.Fatal(err)
		}
		healthy := 0
		for _, group := range data.Groups {
			for _, r := range group.Rules {
				if r.LastError != "" {
					t.Fatalf("%s: %s", r.Name, r.LastError)
				}
				if r.Health == "ok" {
					healthy++
				}
			}
		}
		return healthy == len(rules)
	})
}

// alerts are those that fire, or will when it goes on.
func (p *prometheus) alerts(t *testing.T) []string {
	t.Helper()
	var data struct {
		Alerts []struct{ Labels map[string]string }
	}
	if err := p.get(t, "/api/v1/alerts", &data); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, alert := range data.Alerts {
		if name := alert.Labels["alertname"]; !slices.Contains(mayBePending, name) {
			names = append(names, name)
		}
	}
	return names
}

// wantAlerts breaks each file that the server reads again, one after another, and mends it.
func (w *workload) wantAlerts(t *testing.T, p *prometheus) {
	t.Helper()
	for file, name := range map[string]string{
		w.keysFile():                            "SecretEncryptionConfigNotReloaded",
		w.TokenFile:                             "SecretAccessConfigNotReloaded",
		filepath.Join(w.RBACDir, "test-0.yaml"): "SecretAccessConfigNotReloaded",
	} {
		good := string(harness.ReadFile(t, file))
		harness.WriteFile(t, file, "of no use")
		harness.Eventually(t, name+" tells of "+file, func() bool { return slices.Contains(p.alerts(t), name) })
		harness.WriteFile(t, file, good)
		harness.Eventually(t, name+" ends with the mended "+file, func() bool { return !slices.Contains(p.alerts(t), name) })
	}
}

// wantNoLeaks searches all that Prometheus took from the servers, and what the server wrote.
func (w *workload) wantNoLeaks(t *testing.T, p *prometheus) {
	t.Helper()
	scraped := fetch(t.Context(), t, p.url+"/federate?match[]=%7B__name__!=%22%22%7D")
	if !strings.Contains(string(scraped), "\nsecret_values{") {
		t.Fatal("the text of Prometheus is not what was scraped")
	}
	for _, found := range harness.Find(slices.Concat(scraped, w.metrics(t)), w.canaries...) {
		t.Errorf("Prometheus holds %s", found)
	}
	w.Leaks(t, w.canaries...)
}
