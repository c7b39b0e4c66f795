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
	"sync"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/etcdcluster"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

var (
	duration = flag.Duration("duration", 10*time.Second, "How long clients work while things break.")
	clocks   = flag.Bool("clocks", false, "Let the clocks of the servers jump too. The servers are rebuilt for it, which takes minutes.")
	seed     = flag.Uint64("seed", 0, "Seed of all choices of operations and faults; 0 draws one.")
)

// TestNothingIsLostWhileThingsBreak is the suite: see the package comment.
func TestNothingIsLostWhileThingsBreak(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64N(1 << 32)
	}
	t.Logf("go test ./pkg/testing/robustness -args -seed=%d -duration=%s repeats the choices of operations and faults", *seed, *duration)
	h := newHistory()
	e := newEnvironment(t, h, *clocks)
	if err := etcdcluster.CanMount(); err != nil {
		t.Logf("without %q, which takes root: %v", diskFaults[0].name, err)
	}
	r := &report{Seed: *seed}
	taken := run(t, e, h, r)
	t.Logf("all is healed and read after %s", time.Since(h.start).Round(time.Second))
	r.Backup = taken.revision
	r.Operations = h.operations
	r.Findings = stop(t, e, h)
	r.Records = readAudit(t, e)
	restored := taken.restore(t, e, h, highest(r.Operations, r.Segments))
	t.Logf("the backup is restored after %s", time.Since(h.start).Round(time.Second))

	faults, picture := linearizable(r.Operations)
	r.picture = picture
	lost, _ := linearizable(restored)
	r.Findings = slices.Concat(h.wrong, r.Findings, faults, prefixed("restored: ", lost), rising(r.Segments), complete(r.Segments, r.Operations),
		agree(r.Segments), audited(h.start, e.shifts(), r.Records, r.Operations))
	t.Logf("all is checked after %s", time.Since(h.start).Round(time.Second))
	summarise(t, e, r, h)
	for _, fault := range r.Findings[:min(len(r.Findings), 20)] {
		t.Error(fault)
	}
	if !t.Failed() {
		wantSensitive(t, r, h.start, e.shifts())
		wantRestoredSensitive(t, restored)
	}
	if t.Failed() {
		for _, fault := range r.Faults {
			t.Logf("%+v", fault)
		}
		r.save(t)
	}
}

func prefixed(prefix string, lines []string) (all []string) {
	for _, line := range lines {
		all = append(all, prefix+line)
	}
	return all
}

// wholeRound is the duration from which a run goes on until every fault was there once.
const wholeRound = time.Minute

// run lets clients and watchers work while things break and a backup is made, heals everything, and reads everything
// again.
func run(t *testing.T, e *environment, h *History, r *report) (taken snapshot) {
	t.Helper()
	breaking, stopBreaking := context.WithTimeout(t.Context(), *duration)
	defer stopBreaking()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	watching, stopWatching := context.WithCancel(t.Context())
	defer stopWatching()
	var working, watches, backing sync.WaitGroup
	all := make([]*client, clients)
	for i := range all {
		all[i] = &client{id: i, env: e, history: h, seen: map[string]int64{}}
		working.Go(func() { all[i].run(ctx, r.Seed) })
	}
	var watchers []*watcher
	for i := range replicas {
		w := &watcher{server: i, env: e, history: h}
		watchers = append(watchers, w)
		watches.Go(func() { w.run(watching) })
	}
	backing.Go(func() {
		var err error
		if taken, err = backUp(t, e, h, r.Seed, *duration); err != nil {
			t.Error(err)
		}
	})
	r.Faults = breakThings(breaking, t, e, r.Seed, *duration >= wholeRound)
	backing.Wait()
	stop()
	working.Wait()
	last := readAll(t, e.prober)
	if !eventually(func() bool { return watchers[0].last() >= last && watchers[1].last() >= last }) {
		h.complain("a watch does not come to the last write")
	}
	stopWatching()
	watches.Wait()
	for _, w := range watchers {
		r.Segments = append(r.Segments, w.segments...)
	}
	return taken
}

// readAll reads and opens every name through both servers, and returns the revision of a last write.
func readAll(t *testing.T, c *client) (revision int64) {
	t.Helper()
	for name := range names(c.history.operations) {
		for server := range replicas {
			for _, kind := range []Kind{Get, Decrypt} {
				if !eventually(func() bool { return c.do(t.Context(), server, "end", Input{Kind: kind, Name: name}) }) {
					c.history.complain(fmt.Sprintf("server %d does not answer %s of %s though all is healed: %v", server, kind, name, c.failure))
					return 0 // another name would wait as long
				}
			}
		}
	}
	for server := range replicas {
		if !eventually(func() bool {
			name, err := c.fresh(t.Context(), server)
			revision = max(revision, c.seen[name])
			return err == nil
		}) {
			c.history.complain(fmt.Sprintf("server %d does not write though all is healed: %v", server, c.failure))
		}
	}
	return revision
}

// stop ends the servers, looks for values where none may be, and verifies the audit logs.
func stop(t *testing.T, e *environment, h *History) (faults []string) {
	t.Helper()
	values := h.values()
	for _, r := range e.servers {
		r.get().Stop(t)
		for _, s := range r.all {
			s.OutputLeaks(t, values...)
		}
		r.get().Leaks(t, values...)
		dir := r.get().DataDir
		command := exec.CommandContext(t.Context(), harness.Binary(t), "audit", "verify", "--key-file="+filepath.Join(dir, "decrypt-audit.key"), filepath.Join(dir, "decrypt-audit"))
		if output, err := command.CombinedOutput(); err != nil {
			faults = append(faults, "audit verify: "+string(output))
		}
	}
	search := harness.NewFragments(len(canaryMark)+8, values...)
	for _, file := range []string{e.kms.logFile, e.kms.keysFile} {
		if len(search.Find(harness.ReadFile(t, file))) > 0 {
			faults = append(faults, file+" of the KMS plugin holds a value")
		}
	}
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
func summarise(t *testing.T, e *environment, r *report, h *History) {
	t.Helper()
	count := map[string]int{}
	for _, o := range r.Operations {
		count[string(o.Input.Kind)]++
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
	for _, fault := range r.Faults {
		injected[fault.Name]++
		if !fault.Effect {
			t.Errorf("%q was injected and never took effect", fault.Name)
		}
	}
	t.Logf("seed %d: %d requests, %d operations on %d names %v; %d faults, all of which took effect %v; a backup at revision %d; "+
		"%d watches with %d events; %d audit records; %d findings",
		r.Seed, h.requests, len(r.Operations), len(names(r.Operations)), count, len(r.Faults), injected, r.Backup, len(r.Segments), events, len(r.Records), len(r.Findings))
	for _, kind := range []Kind{Create, Replace, Keep, Label, Value, Delete, Get, Decrypt} {
		if count[string(kind)] == 0 {
			t.Errorf("no %s was answered: this run proves nothing", kind)
		}
	}
	if *duration >= wholeRound {
		for _, fault := range possibleFaults(e) {
			if injected[fault.name] == 0 {
				t.Errorf("%q was never injected", fault.name)
			}
		}
	}
	if events == 0 || len(r.Faults) == 0 {
		t.Error("no event or no fault: this run proves nothing")
	}
}

// TestMain exists so that an artifact folder that is named must be one.
func TestMain(m *testing.M) {
	flag.TextVar(only, "fault", only, "Inject only faults whose name matches this regular expression.")
	flag.Parse()
	if dir := os.Getenv(artifactsEnv); dir != "" && !filepath.IsAbs(dir) {
		panic(artifactsEnv + " must be an absolute path: tests run in the folder of their package")
	}
	os.Exit(m.Run())
}
