// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	defaultCanaries = 6000
	workers         = 4
)

// TestNoCanaryAnywhere drives the table against a standalone server.
func TestNoCanaryAnywhere(t *testing.T) { drive(t, startStandalone(t)) }

// TestNoCanaryAnywhereAggregated drives it through the front proxy of a cluster.
func TestNoCanaryAnywhereAggregated(t *testing.T) { drive(t, startAggregated(t)) }

// drive sends the table until enough canaries were tried, and searches everything that came out.
func drive(t *testing.T, s *subject) {
	t.Helper()
	wanted, seed := harness.Setting(t, "CANARIES", defaultCanaries), harness.Setting(t, "CANARY_SEED", rand.Uint64()>>1)
	t.Logf("CANARIES=%d CANARY_SEED=%d", wanted, seed)
	out := t.TempDir()
	r := &run{subject: s, seed: seed, outcomes: map[outcome]int{},
		responses: create(t, filepath.Join(out, "responses"))}
	watches := startWatches(t, s, out)
	control := plant(t, r, "first")

	r.all(t, wanted)
	if least := int(r.sent.Load() / 40); r.outcomes[accepted] < least || r.outcomes[refused] < least || r.released == 0 {
		t.Errorf("the table is lopsided: %v, %d released", r.outcomes, r.released)
	}
	t.Logf("%d canaries in %d requests, %v, %d values released", len(r.canaries), r.sent.Load(), r.outcomes, r.released)

	watches.waitFor(t, plant(t, r, "last").label)
	watches.stop()
	r.endpoints(t)
	s.snapshot(t, filepath.Join(out, "etcd-snapshot.db"))

	f := newFileFinder(r.canaries...)
	for _, when := range []string{"running", "stopped"} {
		size := f.searchFolder(t, out)
		for _, dir := range s.dirs {
			size += f.searchFolder(t, dir)
		}
		t.Logf("searched %d MiB of responses, watches, log, output, audit logs, snapshot and data folder, %s",
			size>>20, when)
		control.find(t, s, out)
		if when == "running" {
			s.Stop(t)
		}
	}
}

// run is what the requests share.
type run struct {
	subject *subject
	seed    uint64
	sent    atomic.Uint64

	mutex     sync.Mutex
	released  int
	canaries  []string
	outcomes  map[outcome]int
	responses *os.File
}

// all sends the table, in rounds, until it was sent whole and enough canaries were tried.
func (r *run) all(t *testing.T, wanted uint64) {
	t.Helper()
	cases := table()
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			name := fmt.Sprintf("worker-%d", w)
			for at := uint64(w); at < uint64(len(cases)) || r.tried() < wanted; at += workers {
				r.one(t, cases[at%uint64(len(cases))], at, name)
			}
		})
	}
	group.Wait()
}

// tried is how many canaries were sent so far.
func (r *run) tried() uint64 {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return uint64(len(r.canaries))
}

// one sends a case, on its own existing object.
func (r *run) one(t *testing.T, c aCase, number uint64, name string) {
	t.Helper()
	fresh := newCaster(r.seed, number)
	round := number / uint64(len(table()))
	if c.ask.name != "" {
		r.ensure(t, name, fresh)
		r.exchange(t, c, c.ask.call(name, fresh), fresh)
		return
	}
	if c.method != "" {
		url := readURL(c.read, fresh.word())
		r.exchange(t, c, call{method: c.method, url: url, accept: accepts[number%uint64(len(accepts))]}, fresh)
		return
	}
	if c.verb.collection {
		name = fmt.Sprintf("created-%d", number)
	} else {
		r.ensure(t, name, fresh)
	}
	d := c.kind.build(fresh)
	d.name = name
	if d.contentType == "" {
		d.contentType = c.contentType
	}
	url := c.verb.url(name) + validations[(number+round)%uint64(len(validations))] +
		dryRuns[(number+round)%uint64(len(dryRuns))]
	r.exchange(t, c, call{
		method: c.verb.method, url: url, contentType: d.contentType,
		accept: accepts[(number+round)%uint64(len(accepts))],
		body:   d.write(t, c.format), breakOff: d.breakOff,
	}, fresh)
}

// ensure creates the object that a request is about; most of the time it exists.
func (r *run) ensure(t *testing.T, name string, fresh *caster) {
	t.Helper()
	d := document{name: name, text: fresh.word()}
	body, head, err := send(t, r.subject, call{method: "POST", url: harness.Collection(namespace),
		body: d.write(t, asJSON)})
	if err != nil || (head.code != http.StatusCreated && head.code != http.StatusConflict) {
		t.Errorf("creating %s: %d %s %v", name, head.code, body, err)
	}
}

// exchange sends one request, searches the answer and remembers both.
func (r *run) exchange(t *testing.T, c aCase, call call, fresh *caster) {
	t.Helper()
	body, head, err := send(t, r.subject, call)
	r.sent.Add(1)
	switch {
	case call.breakOff && err == nil:
		t.Errorf("%s: answered %d though its body never came", c, head.code)
	case !call.breakOff && err != nil:
		t.Errorf("%s: %v", c, err)
	}
	if c.ask.releases && head.code == http.StatusOK {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.released++
		r.canaries = append(r.canaries, fresh.made...)
		return // the one answer that is meant to hold a value
	}
	answer := fmt.Sprintf("%s\n%s\n%s\n", c, head.text, body)
	report(t, fmt.Sprintf("the answer to %s", c), newFinder(fresh.made...).find([]byte(answer)))
	got := outcomeOf(head.code)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.canaries = append(r.canaries, fresh.made...)
	r.outcomes[got]++
	_, _ = r.responses.WriteString(answer)
	if err == nil {
		judge(t, c, call, head.code, got, body)
	}
}

// judge holds the code against the table: a test of refusals that are none would prove nothing.
func judge(t *testing.T, c aCase, call call, code int, got outcome, body []byte) {
	t.Helper()
	if code >= 500 {
		t.Errorf("%s (%s): %d %s", c, call.url, code, body)
	}
	if call.accept == "application/cbor" || strings.Contains(call.accept, "as=") {
		return // may be not acceptable, whatever the body
	}
	if code == http.StatusNotFound && !c.verb.collection {
		return // a row that deletes the collection was faster
	}
	strict := strings.Contains(call.url, "fieldValidation=Strict")
	if c.verb.exact && c.kind.want != either && got != c.kind.want && (!strict || c.kind.want == refused) {
		t.Errorf("%s (%s): %d %s", c, call.url, code, body)
	}
}

func outcomeOf(code int) outcome {
	switch {
	case code >= 200 && code < 300:
		return accepted
	case code >= 400:
		return refused
	}
	return either
}

func create(t *testing.T, file string) *os.File {
	t.Helper()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	return out
}
