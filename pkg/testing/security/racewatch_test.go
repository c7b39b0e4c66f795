// SPDX-License-Identifier: Apache-2.0

package security

import (
	"encoding/json"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// deadline bounds waiting for what must come; it is not a claim about speed.
const deadline = time.Minute

// events are what one watch of a namespace saw.
type events struct {
	mutex   sync.Mutex
	latest  int64
	last    map[string]object
	changes map[string]int
}

// startWatch watches from now until the test ends.
func startWatch(t *testing.T, s *harness.Server, namespace string) *events {
	t.Helper()
	e := &events{last: map[string]object{}, changes: map[string]int{}}
	stream := s.Watch(t, harness.Collection(namespace)+"?watch=true&sendInitialEvents=true&"+
		"resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", s.AdminToken)
	started := make(chan struct{})
	go e.read(t, json.NewDecoder(stream), started)
	select {
	case <-started:
	case <-time.After(deadline):
		t.Fatal("the watch never sent its initial events")
	}
	return e
}

// read takes events in until the stream ends; started is closed once the initial ones are over.
func (e *events) read(t *testing.T, stream *json.Decoder, started chan<- struct{}) {
	t.Helper()
	initial := true
	for {
		var event struct {
			Type   string
			Object object
		}
		if stream.Decode(&event) != nil {
			return
		}
		switch event.Type {
		case "BOOKMARK":
			if initial {
				initial = false
				close(started)
			}
		case "ADDED", "MODIFIED":
			if initial {
				continue // in the order of names
			}
			e.add(t, event.Object)
		default:
			t.Errorf("the watch sent %s", event.Type)
		}
	}
}

func (e *events) add(t *testing.T, o object) {
	t.Helper()
	e.mutex.Lock()
	defer e.mutex.Unlock()
	version, err := strconv.ParseInt(o.Metadata.ResourceVersion, 10, 64)
	if err != nil || version <= e.latest {
		t.Errorf("the watch went from resourceVersion %d to %q", e.latest, o.Metadata.ResourceVersion)
	}
	e.latest = version
	e.last[o.Metadata.Name] = o
	e.changes[o.Metadata.Name]++
	if o.Spec.Value != nil {
		t.Error("the watch sent a value")
	}
}

// check waits for the final state of an object and asks that no change was left out on the way.
func (e *events) check(t *testing.T, final object, changes int) {
	t.Helper()
	name := final.Metadata.Name
	for end := time.Now().Add(deadline); ; time.Sleep(10 * time.Millisecond) {
		e.mutex.Lock()
		seen, count := e.last[name], e.changes[name]
		e.mutex.Unlock()
		if seen.Metadata.ResourceVersion == final.Metadata.ResourceVersion {
			if count != changes || seen.Status != final.Status ||
				seen.Metadata.Generation != final.Metadata.Generation {
				t.Errorf("%s: the watch saw %d changes and %+v, want %d and %+v", name, count, seen.Status, changes,
					final.Status)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: the watch never saw the final state", name)
		}
	}
}
