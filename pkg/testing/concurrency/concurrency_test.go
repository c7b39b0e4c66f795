// SPDX-License-Identifier: Apache-2.0

package concurrency

import (
	"maps"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestIncident21RacesStopAndKill is one life of a data folder: races, a graceful stop amid them, a kill amid them, and
// at the end every value is opened.
func TestIncident21RacesStopAndKill(t *testing.T) {
	first := harness.Start(t, harness.Options{})
	racers := map[string]*race{
		"writers": writers(t, first, "writers"),
		"create":  createRaces(t, first, "create"),
		"delete":  deleteRaces(t, first, "delete"),
	}
	want := map[string]string{}
	for _, r := range racers {
		maps.Copy(want, r.expected())
	}
	stopped := stopRaces(t, first, "stop")
	noDataRace(t, first)

	second := harness.Start(t, harness.Options{DataDir: first.DataDir})
	stopped.client = newClient(t, second, "stop")
	maps.Copy(want, stopped.survivedStop())
	for namespace, r := range racers {
		r.client = newClient(t, second, namespace)
		if again := r.expected(); len(again) == 0 {
			t.Errorf("%s: nothing survived the stop", namespace)
		}
	}
	victims := killRaces(t, second, "kill")
	noDataRace(t, second)
	for _, v := range victims {
		second.Leaks(t, v.value, v.unsure)
	}

	third := harness.Start(t, harness.Options{DataDir: first.DataDir})
	maps.Copy(want, survived(t, third, "kill", victims))
	third.Stop(t)
	noDataRace(t, third)
	opens(t, first.DataDir, want)
	for namespace, r := range racers {
		first.Leaks(t, r.ledger.all[:min(10, len(r.ledger.all))]...)
		t.Logf("%s: %d values acknowledged", namespace, len(r.ledger.all))
	}
}

// TestRacesWithoutWatchCache asks the same of a server that reads everything from etcd.
func TestRacesWithoutWatchCache(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{"--watch-cache=false"}})
	want := writers(t, s, "writers").expected()
	maps.Copy(want, deleteRaces(t, s, "delete").expected())
	s.Stop(t)
	noDataRace(t, s)
	opens(t, s.DataDir, want)
}

// survivedStop asks that a server started again has every acknowledged write, and returns what must open.
func (r *race) survivedStop() map[string]string {
	r.t.Helper()
	want := map[string]string{}
	for id, versions := range r.ledger.values {
		name, _, _ := strings.Cut(id, "/")
		got, last := r.get(name), int64(0)
		for version := range versions {
			last = max(last, version)
		}
		if got.Status.Version < last {
			r.t.Errorf("%s has version %d after the stop, %d was acknowledged", name, got.Status.Version, last)
		}
		if got.Status.Version == last { // else the write on top of it was cut off unanswered
			want[r.namespace+"/"+name] = versions[last]
		}
	}
	return want
}

// opens asks that every expected object opens to its value, and that every other record opens.
func opens(t *testing.T, dataDir string, want map[string]string) {
	t.Helper()
	opened := harness.OpenAll(t, dataDir)
	for key, value := range want {
		if got, ok := opened[key]; !ok || got != value {
			t.Errorf("%s opens to %q (%t), the last writer wrote %q", key, got, ok, value)
		}
	}
	if len(want) == 0 || len(opened) < len(want) {
		t.Errorf("%d records opened, %d expected", len(opened), len(want))
	}
}

// noDataRace reads the log for reports of the race detector; without it there are none.
func noDataRace(t *testing.T, s *harness.Server) {
	t.Helper()
	if log := s.Log(t); strings.Contains(log, "DATA RACE") {
		_, report, _ := strings.Cut(log, "DATA RACE")
		t.Errorf("DATA RACE%s", report[:min(len(report), 4000)])
	}
}
