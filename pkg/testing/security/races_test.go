// SPDX-License-Identifier: Apache-2.0

package security

import (
	"maps"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestIncident21RacesAndStop is one life of a data folder: races, a graceful stop amid them, and at the end every value
// is opened. Colliding creates and deletes, and kills, are in pkg/testing/robustness and pkg/testing/keys.
func TestIncident21RacesAndStop(t *testing.T) {
	first := harness.Start(t, harness.Options{})
	raced := writers(t, first, "writers")
	want := raced.expected()
	stopped := stopRaces(t, first, "stop")
	noDataRace(t, first)

	second := harness.Start(t, harness.Options{DataDir: first.DataDir})
	stopped.client, raced.client = newClient(t, second, "stop"), newClient(t, second, "writers")
	maps.Copy(want, stopped.survivedStop())
	raced.expected()
	second.Stop(t)
	noDataRace(t, second)
	opens(t, first.DataDir, want)
	first.Leaks(t, raced.ledger.all[:min(10, len(raced.ledger.all))]...)
	t.Logf("%d values acknowledged", len(raced.ledger.all))
}

// TestRacesWithoutWatchCache asks the same of a server that reads everything from etcd.
func TestRacesWithoutWatchCache(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{"--watch-cache=false"}})
	want := writers(t, s, "writers").expected()
	s.Stop(t)
	noDataRace(t, s)
	opens(t, s.DataDir, want)
}

// expected is what must open: the value of the version that each object is read with, by NAMESPACE/NAME.
func (r *race) expected() map[string]string {
	r.t.Helper()
	want := map[string]string{}
	for i := range objects {
		got := r.get(name(i))
		value, ok := r.ledger.versions(got)[got.Status.Version]
		if !ok {
			r.t.Errorf("%s has version %d, which nobody was told of", name(i), got.Status.Version)
		}
		want[r.namespace+"/"+name(i)] = value
	}
	return want
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
