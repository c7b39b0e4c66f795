// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	beginMarker = "<!-- begin: written by make update-metrics -->\n"
	endMarker   = "<!-- end -->\n"
	ownPrefix   = "secret_"
)

// fromUpstream are the metrics of the Kubernetes libraries and of Go that an operator of this server needs.
var fromUpstream = []string{
	"apiserver_request_total", "apiserver_request_duration_seconds", "apiserver_current_inflight_requests",
	"apiserver_longrunning_requests", "apiserver_watch_events_total", "apiserver_resource_objects", "apiserver_storage_size_bytes",
	"apiserver_audit_event_total", "apiserver_tls_handshake_errors_total", "authentication_attempts", "etcd_requests_total",
	"etcd_request_duration_seconds", "go_goroutines", "process_cpu_seconds_total", "process_resident_memory_bytes",
	"process_start_time_seconds",
}

// The page has every metric of this project that a server or the controller manager serves, and no other.
func TestMetricsPage(t *testing.T) {
	t.Parallel()
	w := startWorkload(t)
	text := w.metrics(t)
	for _, found := range harness.Find(text, w.canaries...) {
		t.Errorf("/metrics holds %s", found)
	}
	server := parse(t, text)
	controller := parse(t, fetch(t.Context(), t, serveControllerMetrics(t).URL))
	want := tables(t, server, controller)

	file := filepath.Join(harness.Root(t), page)
	content := string(harness.ReadFile(t, file))
	head, rest, ok := strings.Cut(content, beginMarker)
	got, tail, closed := strings.Cut(rest, endMarker)
	if !ok || !closed {
		t.Fatalf("%s has no lines %q and %q", page, beginMarker, endMarker)
	}
	if os.Getenv("UPDATE_METRICS") != "" {
		if err := os.WriteFile(file, []byte(head+beginMarker+want+endMarker+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	served, named := rows(want), rows(got)
	for name := range served {
		if named[name] == "" {
			t.Errorf("%s is served and %s does not have it: run make update-metrics", name, page)
		} else if named[name] != served[name] {
			t.Errorf("%s has changed: run make update-metrics\n is  %s\n was %s", name, served[name], named[name])
		}
	}
	for name := range named {
		if served[name] == "" {
			t.Errorf("%s has %s, which is not served any more: run make update-metrics", page, name)
		}
	}
	if !t.Failed() && got != want {
		t.Errorf("%s is out of date: run make update-metrics", page)
	}
	wantNames(t, head+tail, served)
}

// wantNames checks that what the text around the tables names exists too. A name that ends in an underscore is a
// prefix.
func wantNames(t *testing.T, text string, served map[string]string) {
	t.Helper()
	for _, found := range regexp.MustCompile("`("+ownPrefix+`[a-z0-9_]+)`).FindAllStringSubmatch(text, -1) {
		name := found[1]
		fits := func(of string) bool { return of == name || strings.HasSuffix(name, "_") && strings.HasPrefix(of, name) }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(served)), fits) {
			t.Errorf("the text of %s names %s, which is not served", page, name)
		}
	}
}

// tables are what stands between the markers.
func tables(t *testing.T, server, controller map[string]*dto.MetricFamily) string {
	t.Helper()
	var b strings.Builder
	own := func(title string, families map[string]*dto.MetricFamily, skip map[string]*dto.MetricFamily) {
		var names []string
		for name := range families {
			if strings.HasPrefix(name, ownPrefix) && (skip[name] == nil || labels(skip[name]) != labels(families[name])) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		table(&b, title, names, families)
	}
	own("Of the server", server, nil)
	own("Of the controller manager", controller, server)
	for _, name := range fromUpstream {
		if server[name] == nil {
			t.Errorf("%s is not served: choose another in fromUpstream", name)
		}
	}
	table(&b, "From upstream", fromUpstream, server)
	return b.String()
}

func table(b *strings.Builder, title string, names []string, families map[string]*dto.MetricFamily) {
	fmt.Fprintf(b, "### %s\n\n| metric | type | labels | says |\n|---|---|---|---|\n", title)
	for _, name := range names {
		if f := families[name]; f != nil {
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), labels(f), says(f))
		}
	}
	b.WriteString("\n")
}

// labels are those of all samples.
func labels(f *dto.MetricFamily) string {
	all := map[string]bool{}
	for _, sample := range f.GetMetric() {
		for _, label := range sample.GetLabel() {
			all["`"+label.GetName()+"`"] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), ", ")
}

// stability starts the help text of what component-base registers.
var stability = regexp.MustCompile(`^\[(ALPHA|BETA|STABLE)\] `)

func says(f *dto.MetricFamily) string {
	return strings.ReplaceAll(stability.ReplaceAllString(f.GetHelp(), ""), "|", `\|`)
}

// rows are the lines of tables by the metric they are about.
func rows(text string) map[string]string {
	all := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` .*$").FindAllStringSubmatch(text, -1) {
		all[row[1]] = row[0]
	}
	return all
}
