// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"slices"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/hack/bench/report"
	"github.com/securevalue/secret-apiserver/hack/bench/world/worldtest"
)

func TestASmallRunMeasuresEverything(t *testing.T) {
	o := Options{Objects: 2000, Size: 100, Writers: 8, Listers: 2, Watchers: 5, Restarts: 1}
	var log strings.Builder
	r := &Run{Options: o, World: worldtest.New(t), Report: report.NewScale("test", nil, o.Objects, o.Size), Log: &log}
	if err := r.Do(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	for _, what := range []string{
		"first start to ready, no values", "fill rate, 8 clients", "create p99 while filling", "server RSS with all values",
		"RSS growth for each value", "live heap growth for each value", "page of 500: p99", "2 full lists at once: added peak RSS",
		"write to event at 5 watchers: p99", "start to ready with all values", "rewrap rate, 16 at once, --rewrap-qps out of the way",
		"values that the server has at the end",
	} {
		at := slices.IndexFunc(r.Report.Figures, func(f report.Figure) bool { return f.What == what })
		if at < 0 || r.Report.Figures[at].Value <= 0 && !strings.Contains(what, "growth") && !strings.Contains(what, "added") { // of so few values, garbage hides it
			t.Errorf("%s: no figure above 0 among %v", what, r.Report.Figures)
		}
	}
	if r.failed != 0 || r.Report.StartAim == report.NotMeasured {
		t.Errorf("%d failed, aim %s\n%s", r.failed, r.Report.StartAim, log.String())
	}
	r.Objects++
	if err := r.check(t.Context()); err == nil {
		t.Error("a value that was lost was not seen")
	}
}

func TestAListThatIsNotProtobufIsRefused(t *testing.T) {
	for _, body := range []string{"", "k8s", `{"items":[]}`, "k8s\x00\xff"} {
		if list, err := decodeList([]byte(body)); err == nil {
			t.Errorf("%q gave %d items", body, len(list.Items))
		}
	}
}
