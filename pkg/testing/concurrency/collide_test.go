// SPDX-License-Identifier: Apache-2.0

package concurrency

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const creators = 16

// createRaces lets many create one name: one wins, and its value is the one stored.
func createRaces(t *testing.T, s *harness.Server, namespace string) *race {
	t.Helper()
	r := &race{client: newClient(t, s, namespace)}
	for round := range 5 {
		var won, lost atomic.Int64
		together(creators, func(int) {
			value := newValue()
			got, code := r.must(http.MethodPost, "", "application/json", newObject(name(round), value),
				http.StatusCreated, http.StatusConflict)
			if code == http.StatusConflict {
				lost.Add(1)
				return
			}
			won.Add(1)
			r.ledger.wrote(t, got, value)
		})
		if won.Load() != 1 || lost.Load() != creators-1 {
			t.Errorf("%d creators won and %d lost, want 1 and %d", won.Load(), lost.Load(), creators-1)
		}
	}
	return r
}

// deleteRaces deletes, changes and creates one name at once. What a request sees is a whole object or none, and a
// deleted object never comes back by an update.
func deleteRaces(t *testing.T, s *harness.Server, namespace string) *race {
	t.Helper()
	r := &race{client: newClient(t, s, namespace)}
	for round := range 6 {
		name, recreate := name(round), round%2 == 1
		got, value := r.create(name)
		r.ledger.wrote(t, got, value)
		together(8, func(w int) {
			switch {
			case w == 0:
				r.must(http.MethodDelete, name, "", nil, http.StatusOK)
			case w == 1 && recreate:
				r.recreate(name)
			default:
				r.meddle(name, w)
			}
		})
		if !recreate {
			r.must(http.MethodGet, name, "", nil, http.StatusNotFound)
		}
	}
	return r
}

// recreate creates the name until it is free.
func (r *race) recreate(name string) {
	value := newValue()
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		got, code := r.must(http.MethodPost, "", "application/json", newObject(name, value), http.StatusCreated,
			http.StatusConflict)
		if code != http.StatusConflict {
			r.ledger.wrote(r.t, got, value)
			return
		}
	}
	r.t.Errorf("%s was never free", name)
}

// meddle reads and writes in every way an object that may be gone.
func (r *race) meddle(name string, w int) {
	for n := range 6 {
		value := newValue()
		var got object
		var code int
		switch (w + n) % 4 {
		case 0:
			body := map[string]any{"spec": map[string]any{"value": value}}
			got, code = r.must(http.MethodPatch, name, mergePatch, body, http.StatusOK, http.StatusNotFound)
		case 1:
			got, code = r.must(http.MethodPut, name, "application/json", newObject(name, value), http.StatusOK,
				http.StatusNotFound)
		case 2:
			body := map[string]any{"metadata": map[string]any{"labels": map[string]string{"n": strconv.Itoa(n)}}}
			r.must(http.MethodPatch, name, mergePatch, body, http.StatusOK, http.StatusNotFound)
		case 3:
			r.must(http.MethodGet, name, "", nil, http.StatusOK, http.StatusNotFound)
		}
		if code == http.StatusOK {
			r.ledger.wrote(r.t, got, value)
		}
	}
}

// together calls f in n goroutines that start at once.
func together(n int, f func(i int)) {
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	group.Wait()
}

// expected is what must open: the value of the version that each object is read with, by NAMESPACE/NAME.
func (r *race) expected() map[string]string {
	r.t.Helper()
	want := map[string]string{}
	for i := range 8 {
		got, code := r.must(http.MethodGet, name(i), "", nil, http.StatusOK, http.StatusNotFound)
		if code == http.StatusNotFound {
			continue
		}
		value, ok := r.ledger.versions(got)[got.Status.Version]
		if !ok {
			r.t.Errorf("%s has version %d, which nobody was told of", name(i), got.Status.Version)
		}
		want[r.namespace+"/"+name(i)] = value
	}
	return want
}
