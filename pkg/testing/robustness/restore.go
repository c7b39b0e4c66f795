// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// restoredClient is the id of the client that reads from a restored server.
const restoredClient = clients + 1

// snapshot is a backup that was made while clients worked.
type snapshot struct {
	file string
	// revision is the last that it holds.
	revision int64
	// call and end are when it was asked for and there, as in an Operation.
	call, end int64
}

// backupTimeout bounds one attempt: a member that is stopped does not answer.
const backupTimeout = 20 * time.Second

var backupRevision = regexp.MustCompile(`, revision (\d+), `)

// backUp makes a backup by the command, at a time of a run of some duration that is drawn. Faults go on, so that it may
// take some attempts.
func backUp(t *testing.T, e *environment, h *History, seed uint64, duration time.Duration) (taken snapshot, err error) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1<<33)) //nolint:gosec // repeatable on purpose
	wait(t.Context(), time.Duration((0.3+0.4*random.Float64())*float64(duration)))
	dir, attempt := t.TempDir(), 0
	eventually(func() bool {
		attempt++
		taken = snapshot{file: filepath.Join(dir, fmt.Sprintf("backup-%d.db", attempt)), call: h.now()}
		ctx, cancel := context.WithTimeout(t.Context(), backupTimeout)
		defer cancel()
		var output []byte
		servers := "--etcd-servers=" + strings.Join(e.etcd.Endpoints(), ",")
		output, err = exec.CommandContext(ctx, harness.Binary(t), "backup", servers, "--to="+taken.file).CombinedOutput() //nolint:gosec // the binary under test
		taken.end = h.now()
		if err != nil {
			err = fmt.Errorf("backup: %w: %s", err, output)
			return false
		}
		found := backupRevision.FindSubmatch(output)
		if found == nil {
			err = fmt.Errorf("backup says no revision: %s", output)
			return false
		}
		taken.revision, err = strconv.ParseInt(string(found[1]), 10, 64)
		return err == nil
	})
	return taken, err
}

// until is the part of a history that a backup must hold, and nothing else: every write up to its revision. A write
// that told no revision, a delete or one of unknown outcome, is in it if it ended before the backup began, and may be
// if it began before the backup was there. Reads count as long as they ended before.
func (s snapshot) until(history []Operation) (part []Operation) {
	for _, o := range history {
		switch at := o.Output.ResourceVersion; {
		case o.Input.Kind == Get || o.Input.Kind == Decrypt || o.Output.Result == Exists || o.Output.Result == Conflict || o.Output.Result == Absent:
			if o.Return < s.call {
				part = append(part, o)
			}
		case at > 0:
			if at <= s.revision {
				part = append(part, o)
			}
		case o.Return < s.call:
			part = append(part, o)
		case o.Call < s.end:
			o.Output = Output{Result: Unknown}
			part = append(part, o)
		}
	}
	return part
}

// restore makes a server out of the backup once the others are gone, and reads and opens every name of the run. It
// returns the history that must be linearizable then.
func (s snapshot) restore(t *testing.T, e *environment, h *History, highest int64) (history []Operation) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	if stdout, stderr, code := harness.Tool(t, "restore", "--from="+s.file, "--data-dir="+dir); code != 0 {
		h.complain(fmt.Sprintf("restore: %s%s", stdout, stderr))
		return nil
	}
	keysFile := filepath.Join(t.TempDir(), "encryption.yaml")
	harness.WriteFile(t, keysFile, e.configuration(true, slices.Concat(e.keys, e.destroyed)))
	options := e.options(keysFile)
	options.DataDir = dir
	r := &replica{options: options}
	r.start(t)
	after := &History{start: h.start}
	env := &environment{servers: [replicas]*replica{r, r}}
	c := &client{id: restoredClient, env: env, history: after, seen: map[string]int64{}}
	for name := range names(h.operations) {
		for _, kind := range []Kind{Get, Decrypt} {
			if !eventually(func() bool { return c.do(t.Context(), 0, "restored", Input{Kind: kind, Name: name}) }) {
				h.complain(fmt.Sprintf("the restored server does not answer %s of %s: %v", kind, name, c.failure))
				return nil
			}
		}
	}
	for _, o := range h.operations {
		if o.Return < s.call && o.Output.ResourceVersion > s.revision {
			h.complain(fmt.Sprintf("%s of %s at %d was answered before the backup of revision %d", o.Input.Kind, o.Input.Name, o.Output.ResourceVersion, s.revision))
		}
	}
	history = append(s.until(h.operations), after.operations...)
	revisionsGoOn(t, env, h, highest)
	for _, complaint := range after.wrong {
		h.complain("restored: " + complaint)
	}
	r.get().Stop(t)
	r.get().Leaks(t, append(h.values(), after.values()...)...)
	if found := harness.NewFragments(len(canaryMark)+8, h.values()...).Find(harness.ReadFile(t, s.file)); len(found) > 0 {
		h.complain("the backup holds a value")
	}
	return history
}

// revisionsGoOn wants a restored server to hand out revisions above every one before, to end watches from there, and to
// serve new ones.
func revisionsGoOn(t *testing.T, env *environment, h *History, highest int64) {
	t.Helper()
	w := &watcher{env: env, history: h, segments: []Segment{{From: highest}}}
	if w.watch(t.Context()) {
		h.complain(fmt.Sprintf("restored: a watch from %d is not told that its revision is gone", highest))
	}
	from, ok := w.list(t.Context())
	if !ok || from <= highest {
		h.complain(fmt.Sprintf("restored: a list is at %d, and %d was handed out before", from, highest))
	}
	c := &client{id: clients + 2, env: env, history: &History{start: h.start}, seen: map[string]int64{}}
	name, err := c.fresh(t.Context(), 0)
	if err != nil || c.seen[name] <= from {
		h.complain(fmt.Sprintf("restored: a write after a list at %d: %d %v", from, c.seen[name], err))
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.segments = []Segment{{From: from}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.watch(ctx)
	}()
	if !eventually(func() bool { return w.last() >= c.seen[name] }) {
		h.complain("restored: a watch from a new list does not see a new write")
	}
	cancel()
	<-done
}

// names are those of a history.
func names(history []Operation) map[string]bool {
	all := map[string]bool{}
	for _, o := range history {
		all[o.Input.Name] = true
	}
	return all
}

// highest is the greatest revision that a client or watch saw.
func highest(history []Operation, segments []Segment) (revision int64) {
	for _, o := range history {
		revision = max(revision, o.Output.ResourceVersion)
	}
	for _, segment := range segments {
		for _, event := range segment.Events {
			revision = max(revision, event.ResourceVersion)
		}
	}
	return revision
}
