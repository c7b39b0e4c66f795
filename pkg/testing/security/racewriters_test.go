// SPDX-License-Identifier: Apache-2.0

package security

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	objects = 5
	// replaced are the objects that unconditional replacements write too, labels and all: labels are counted on the
	// others.
	replaced        = 2
	writersOfAKind  = 8
	writesPerWriter = 24
)

// race is 8 writers of values and 8 of labels and descriptions on five objects.
type race struct {
	*client
	ledger ledger
	counts [objects]counts
}

// counts are the acknowledged writes of one object.
type counts struct {
	values, descriptions, labels, others atomic.Int64
}

func name(i int) string { return fmt.Sprintf("object-%d", i) }

// valueWriters and labelWriters are taken in turns. Each writes once to object i.
var (
	valueWriters = []func(r *race, i int){(*race).putConditionally, (*race).patchValue, (*race).putUnconditionally,
		(*race).applyValue}
	labelWriters = []func(r *race, i int){(*race).countUp, (*race).describe, (*race).annotateConditionally,
		(*race).dryRun}
)

// writers races them, with a watch beside, and counts afterwards.
func writers(t *testing.T, s *harness.Server, namespace string) *race {
	t.Helper()
	r := &race{client: newClient(t, s, namespace)}
	for i := range objects {
		got, value := r.create(name(i))
		r.ledger.wrote(t, got, value)
	}
	watch := startWatch(t, s, namespace)
	var group sync.WaitGroup
	for w := range writersOfAKind {
		for _, kind := range [][]func(*race, int){valueWriters, labelWriters} {
			group.Go(func() {
				for n := range writesPerWriter {
					kind[w%len(kind)](r, (w+n)%objects)
				}
			})
		}
	}
	group.Wait()
	for i := range objects {
		r.check(i, watch)
	}
	return r
}

// check holds one object against what was acknowledged.
func (r *race) check(i int, watch *events) {
	r.t.Helper()
	got, c := r.get(name(i)), &r.counts[i]
	versions := r.ledger.versions(got)
	if want := c.values.Load() + 1; got.Status.Version != want || int64(len(versions)) != want {
		r.t.Errorf("%s: version %d with %d values acknowledged, want %d", name(i), got.Status.Version, len(versions),
			want)
	}
	if want := c.values.Load() + c.descriptions.Load() + 1; got.Metadata.Generation != want {
		r.t.Errorf("%s: generation %d, want %d", name(i), got.Metadata.Generation, want)
	}
	if want := strconv.FormatInt(c.labels.Load(), 10); i >= replaced && got.Metadata.Labels["count"] != want {
		r.t.Errorf("%s: counted %s, want %s: a write of a label was lost", name(i), got.Metadata.Labels["count"], want)
	}
	writes := c.values.Load() + c.descriptions.Load() + c.labels.Load() + c.others.Load()
	watch.check(r.t, got, int(writes))
}

// wroteValue records an acknowledged value.
func (r *race) wroteValue(i int, got object, value string) {
	r.ledger.wrote(r.t, got, value)
	r.counts[i].values.Add(1)
}

// conditionally reads, changes and writes back until nobody came between.
func (r *race) conditionally(i int, change func(o *object)) object {
	for {
		o := r.get(name(i))
		change(&o)
		got, code := r.must(http.MethodPut, name(i), "application/json", o, http.StatusOK, http.StatusConflict)
		if code != http.StatusConflict {
			return got
		}
	}
}

func (r *race) putConditionally(i int) {
	value := newValue()
	r.wroteValue(i, r.conditionally(i, func(o *object) { o.Spec.Value = &value }), value)
}

// putUnconditionally replaces the whole object; a 409 would be wrong.
func (r *race) putUnconditionally(i int) {
	value := newValue()
	if i >= replaced {
		r.patchValue(i)
		return
	}
	got, _ := r.must(http.MethodPut, name(i), "application/json", newObject(name(i), value), http.StatusOK)
	r.wroteValue(i, got, value)
}

func (r *race) patchValue(i int) {
	value := newValue()
	body := map[string]any{"spec": map[string]any{"value": value}}
	got, _ := r.must(http.MethodPatch, name(i), mergeType, body, http.StatusOK)
	r.wroteValue(i, got, value)
}

func (r *race) applyValue(i int) {
	value := newValue()
	body := map[string]any{
		"apiVersion": "secret.grafana.app/v1beta1", "kind": "SecureValue",
		"metadata": map[string]any{"name": name(i)}, "spec": map[string]any{"value": value},
	}
	got, _ := r.must(http.MethodPatch, name(i)+"?fieldManager=race", "application/apply-patch+yaml", body,
		http.StatusOK)
	r.wroteValue(i, got, value)
}

// countUp loses no increment: it is the read-modify-write of every controller, without a value.
func (r *race) countUp(i int) {
	r.conditionally(i, func(o *object) {
		n, _ := strconv.Atoi(o.Metadata.Labels["count"])
		if o.Metadata.Labels == nil {
			o.Metadata.Labels = map[string]string{}
		}
		o.Metadata.Labels["count"] = strconv.Itoa(n + 1)
	})
	r.counts[i].labels.Add(1)
}

// describe changes the description to one that nobody else writes; a 409 would be wrong.
func (r *race) describe(i int) {
	body := map[string]any{"spec": map[string]any{"description": newValue()[:25]}}
	r.must(http.MethodPatch, name(i), mergeType, body, http.StatusOK)
	r.counts[i].descriptions.Add(1)
}

// annotateConditionally patches what it read, or nothing.
func (r *race) annotateConditionally(i int) {
	metadata := map[string]any{
		"resourceVersion": r.get(name(i)).Metadata.ResourceVersion,
		"annotations":     map[string]string{"race": newValue()},
	}
	_, code := r.must(http.MethodPatch, name(i), mergeType, map[string]any{"metadata": metadata}, http.StatusOK,
		http.StatusConflict)
	if code == http.StatusOK {
		r.counts[i].others.Add(1)
	}
}

// dryRun changes nothing, however it falls between the others.
func (r *race) dryRun(i int) {
	body := map[string]any{"spec": map[string]any{"value": newValue(), "description": "never stored"}}
	r.must(http.MethodPatch, name(i)+"?dryRun=All", mergeType, body, http.StatusOK)
}

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
