// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"strings"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/load"
	"github.com/securevalue/secret-apiserver/hack/bench/measure"
	"github.com/securevalue/secret-apiserver/hack/bench/report"
	"github.com/securevalue/secret-apiserver/hack/bench/world"
	"github.com/securevalue/secret-apiserver/hack/bench/world/worldtest"
)

// small is a comparison with everything in it, as short as can be.
func small() Options {
	o := Full()
	o.Sizes, o.Clients, o.Objects, o.Rounds, o.Slice = []int{256}, []int{standardClients}, 40, 2, 100*time.Millisecond
	o.Watchers, o.Budget = []int{3}, time.Hour
	return o
}

// requestsOf are the requests that a server says it answered, by verb.
func requestsOf(t *testing.T, s *side, verb string) (n int64) {
	t.Helper()
	text, err := s.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "apiserver_request_total{") && strings.Contains(line, `verb="`+verb+`"`) &&
			strings.Contains(line, `resource="`+string(s.kind)+`"`) && strings.Contains(line, `subresource=""`) {
			name, _, _ := strings.Cut(line, "} ")
			count, err := measure.Metric([]byte(line), name+"}")
			if err != nil {
				t.Fatal(err)
			}
			n += int64(count)
		}
	}
	return n
}

// What this program counted is what the servers counted: objects at the end, and requests of the verbs that only cells
// send.
func TestCountsEqualThoseOfTheServers(t *testing.T) {
	r := &Run{Options: small(), World: worldtest.New(t), Report: report.New("test", nil), Log: t.Output()}
	r.Extras = false // a restart with audit would reset the servers' counters
	if err := r.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range r.Sides {
		for verb, op := range map[string]load.Op{"GET": load.Get, "PUT": load.Update} {
			var sent int64
			for _, c := range r.Report.Cells {
				if s := c.Sides[name]; s != nil && c.Op == string(op) {
					sent += s.Requests
				}
			}
			if got := requestsOf(t, r.sides[name], verb); got != sent || sent == 0 {
				t.Errorf("%s answered %d requests with verb %s, and this program sent %d", name, got, verb, sent)
			}
		}
	}
	r.sides[world.Ours].filled[256] = r.sides[world.Ours].filled[256][1:]
	if err := r.check(t.Context()); err == nil {
		t.Error("a lost object was not seen")
	}
}

func TestEveryCellIsMeasuredOnEachOfItsSides(t *testing.T) {
	r := &Run{Options: small(), World: worldtest.New(t), Report: report.New("test", nil), Log: t.Output()}
	if err := r.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := append(r.plan(), r.audited()...)
	if len(r.Report.Cells) != len(want) {
		t.Fatalf("%d cells, want %d", len(r.Report.Cells), len(want))
	}
	for i, c := range r.Report.Cells {
		if c.Name() != want[i].Name() {
			t.Errorf("%s, want %s", c.Name(), want[i].Name())
		}
		for _, name := range want[i].sides {
			s := c.Sides[name]
			if s == nil || len(s.Rounds) != r.Rounds || s.Requests == 0 || s.Bytes == 0 || s.Resident == 0 || s.P50 > s.P999 {
				t.Errorf("%s on %s: %+v", c.Name(), name, s)
			} else if len(s.Failed) > 0 {
				t.Errorf("%s on %s failed: %v", c.Name(), name, s.Failed)
			}
		}
	}
	for _, g := range r.Report.Growth {
		if len(g.Sides) != len(r.Sides) {
			t.Errorf("growth: %+v", g)
		}
	}
	if err := r.Report.Write(t.TempDir(), "full"); err != nil {
		t.Error(err)
	}
}

func TestARunWithoutTimeNamesWhatItLeftOut(t *testing.T) {
	r := &Run{Options: small(), Report: report.New("test", nil), Log: t.Output(), started: time.Now().Add(-time.Hour)}
	r.Budget = time.Minute
	if err := r.cells(t.Context(), r.plan()); err != nil {
		t.Fatal(err)
	}
	if len(r.Report.Cells) != 0 || len(r.Report.Checks) != len(r.plan()) || !strings.Contains(r.Report.Checks[0], "create 256 B, 16 clients, closed") {
		t.Errorf("%d cells, checks %q", len(r.Report.Cells), r.Report.Checks)
	}
}
