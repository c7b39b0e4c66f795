// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

var (
	duration = flag.Duration("duration", 12*time.Second, "How long clients work while things break.")
	seed     = flag.Uint64("seed", 0, "Seed of all choices of operations and faults; 0 draws one.")
)

// TestNothingIsLostWhileThingsBreak is the suite: see the package comment.
func TestNothingIsLostWhileThingsBreak(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64N(1 << 32)
	}
	t.Logf("go test ./pkg/testing/robustness -args -seed=%d -duration=%s repeats the choices of operations and faults", *seed, *duration)
	e := newEnvironment(t)
	h := newHistory()
	r := &report{Seed: *seed}
	r.Faults, r.Segments = run(t, e, h, *seed)
	r.Operations = h.operations
	r.Findings = slices.Concat(h.wrong, stop(t, e, h))
	r.Records = readAudit(t, e)

	faults, picture := linearizable(r.Operations)
	r.picture = picture
	r.Findings = slices.Concat(r.Findings, faults, rising(r.Segments), complete(r.Segments, r.Operations), agree(r.Segments),
		audited(h.start, r.Records, r.Operations))
	summarise(t, r, h)
	for _, fault := range r.Findings[:min(len(r.Findings), 20)] {
		t.Error(fault)
	}
	if !t.Failed() {
		wantSensitive(t, r, h.start)
	}
	if t.Failed() {
		for _, fault := range r.Faults {
			t.Log(fault)
		}
		r.save(t)
	}
}

// run lets clients and watchers work while things break, heals everything, and reads everything once more.
func run(t *testing.T, e *environment, h *History, seed uint64) (faults []string, segments []Segment) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), *duration)
	defer stop()
	watching, stopWatching := context.WithCancel(t.Context())
	defer stopWatching()
	var working, watches sync.WaitGroup
	all := make([]*client, clients)
	for i := range all {
		all[i] = &client{id: i, env: e, history: h, seen: map[string]int64{}}
		working.Go(func() { all[i].run(ctx, seed) })
	}
	var watchers []*watcher
	for i := range replicas {
		w := &watcher{server: i, env: e, history: h}
		watchers = append(watchers, w)
		watches.Go(func() { w.run(watching) })
	}
	faults = breakThings(ctx, t, e, seed)
	working.Wait()
	last := readAll(t, &client{id: clients, env: e, history: h, seen: map[string]int64{}})
	if !eventually(func() bool { return watchers[0].last() >= last && watchers[1].last() >= last }) {
		h.complain("a watch does not come to the last write")
	}
	stopWatching()
	watches.Wait()
	for _, w := range watchers {
		segments = append(segments, w.segments...)
	}
	return faults, segments
}

// readAll reads and opens every name through both servers, and returns the revision of a last write.
func readAll(t *testing.T, c *client) int64 {
	t.Helper()
	names := map[string]bool{}
	for _, o := range c.history.operations {
		names[o.Input.Name] = true
	}
	for name := range names {
		for server := range replicas {
			for _, kind := range []Kind{Get, Decrypt} {
				if !eventually(func() bool { return c.do(t.Context(), server, "end", Input{Kind: kind, Name: name}) }) {
					c.history.complain(fmt.Sprintf("server %d does not answer %s of %s though all is healed: %v", server, kind, name, c.failure))
					return 0 // another name would wait as long
				}
			}
		}
	}
	in := Input{Kind: Create, Name: "end", Op: "end", Value: harness.Canary()}
	if !c.do(t.Context(), 0, "end", in) {
		c.history.complain("the last write failed though all is healed")
	}
	return c.seen["end"]
}

// stop ends the servers, looks for values where none may be, and verifies the audit logs.
func stop(t *testing.T, e *environment, h *History) (faults []string) {
	t.Helper()
	values := h.values()
	for _, r := range e.servers {
		r.get().Stop(t)
		for _, s := range r.all {
			s.Leaks(t, values...)
		}
		dir := r.get().DataDir
		command := exec.CommandContext(t.Context(), harness.Binary(t), "audit", "verify", "--key-file="+filepath.Join(dir, "decrypt-audit.key"), filepath.Join(dir, "decrypt-audit"))
		if output, err := command.CombinedOutput(); err != nil {
			faults = append(faults, "audit verify: "+string(output))
		}
	}
	search := harness.NewFragments(len(canaryMark)+8, values...)
	for _, m := range e.etcd.Members {
		m.Kill()
		err := filepath.WalkDir(m.Dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() && len(search.Find(harness.ReadFile(t, path))) > 0 {
				faults = append(faults, path+" holds a value")
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	return faults
}

// readAudit reads the decrypt audit logs of both servers.
func readAudit(t *testing.T, e *environment) (records []AuditRecord) {
	t.Helper()
	for i, r := range e.servers {
		files, err := filepath.Glob(filepath.Join(r.get().DataDir, "decrypt-audit", "*.log"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no audit log: %v", err)
		}
		for _, file := range files {
			for line := range bytes.Lines(harness.ReadFile(t, file)) {
				record := AuditRecord{}
				if err := json.Unmarshal(line, &record); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				record.Server = i
				records = append(records, record)
			}
		}
	}
	return records
}

// summarise logs the counts of a run, and wants it to have been one.
func summarise(t *testing.T, r *report, h *History) {
	t.Helper()
	count := map[string]int{}
	names := map[string]bool{}
	for _, o := range r.Operations {
		count[string(o.Input.Kind)]++
		names[o.Input.Name] = true
		if o.Output.Result == Unknown {
			count["unknown"]++
		}
		if o.Output.Result == Conflict {
			count["conflict"]++
		}
	}
	events := 0
	for _, segment := range r.Segments {
		events += len(segment.Events)
	}
	injected := map[string]int{}
	for _, line := range r.Faults {
		_, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		what, _, _ = strings.Cut(what, " for ")
		injected[what]++
	}
	t.Logf("seed %d: %d requests, %d operations on %d names %v; %d faults %v; %d watches with %d events; %d audit records; %d findings",
		r.Seed, h.requests, len(r.Operations), len(names), count, len(r.Faults), injected, len(r.Segments), events, len(r.Records), len(r.Findings))
	for _, kind := range []Kind{Create, Replace, Keep, Label, Value, Delete, Get, Decrypt} {
		if count[string(kind)] == 0 {
			t.Errorf("no %s was answered: this run proves nothing", kind)
		}
	}
	if events == 0 || len(r.Faults) == 0 {
		t.Error("no event or no fault: this run proves nothing")
	}
}

// TestMain exists so that an artifact folder that is named must be one.
func TestMain(m *testing.M) {
	flag.Parse()
	if dir := os.Getenv(artifactsEnv); dir != "" && !filepath.IsAbs(dir) {
		panic(artifactsEnv + " must be an absolute path: tests run in the folder of their package")
	}
	os.Exit(m.Run())
}
