// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// candidates bounds how many places of a history are changed before a check counts as blind. Not every change can show:
// of two writes in a row that nobody read in between, the first might as well not have been.
const candidates = 40

// maxUnknown is how many writes of unknown outcome the history of a name may have to be changed: to prove that no order
// explains it, every choice of them is tried, which takes minutes for a dozen.
const maxUnknown = 3

// mutation changes one operation as a bug of the server would, and reports false where it has nothing to change.
type mutation struct {
	name   string
	change func(history []Operation, at int) bool
}

var mutations = []mutation{
	{"an acknowledged write is lost", func(history []Operation, at int) bool {
		o := &history[at]
		if o.Input.Op == "" || o.Output.Result != OK {
			return false
		}
		*o = Operation{Input: Input{Kind: Get, Name: o.Input.Name + "-another"}, Output: Output{Result: Absent}}
		return true
	}},
	{"an update without a value changes what opens", func(history []Operation, at int) bool {
		o := &history[at]
		if o.Input.Kind != Label || o.Output.Result != OK {
			return false
		}
		o.Input.Value = "another value"
		o.Output.Version++
		return true
	}},
	{"a stale resourceVersion is accepted", func(history []Operation, at int) bool {
		o := &history[at]
		if o.Input.Kind != Keep || o.Output.Result != OK {
			return false
		}
		o.Input.ResourceVersion = 1
		return true
	}},
	{"an older value opens", func(history []Operation, at int) bool {
		o := &history[at]
		if o.Input.Kind != Decrypt || o.Output.Result != OK {
			return false
		}
		before := slices.IndexFunc(history[:at], func(other Operation) bool {
			return other.Input.Name == o.Input.Name && other.Input.Value != "" && other.Input.Value != o.Output.Value
		})
		if before < 0 {
			return false
		}
		o.Output.Value = history[before].Input.Value
		return true
	}},
	{"a read is stale", func(history []Operation, at int) bool {
		o := &history[at]
		if o.Input.Kind != Get || o.Output.Result != OK {
			return false
		}
		o.Output = Output{Result: Absent}
		return true
	}},
}

// wantSensitive changes what a sound run recorded, and wants every check to see it.
func wantSensitive(t *testing.T, r *report, start time.Time, shifts [replicas][]time.Duration) {
	t.Helper()
	for _, m := range mutations {
		if !caught(r.Operations, m) {
			t.Errorf("%s: no check sees it", m.name)
		}
	}
	longest := slices.MaxFunc(r.Segments, func(a, b Segment) int { return len(a.Events) - len(b.Events) })
	events := longest.Events
	middle := len(events) / 2
	swapped, short := slices.Clone(events), slices.Delete(slices.Clone(events), middle, middle+1)
	swapped[middle], swapped[middle-1] = swapped[middle-1], swapped[middle]
	if len(rising([]Segment{{From: longest.From, Events: swapped}})) == 0 {
		t.Error("two events of a watch change places: no check sees it")
	}
	lossy := []Segment{{From: longest.From, Events: short}}
	if len(agree(append(lossy, longest))) == 0 {
		t.Error("an event of a watch is lost: the other watch does not tell")
	}
	unseen := 0
	for i := range events[:min(len(events), candidates)] {
		without := Segment{From: longest.From, Events: slices.Delete(slices.Clone(events), i, i+1)}
		if len(complete([]Segment{without}, r.Operations)) > 0 {
			unseen++
		}
	}
	if unseen == 0 {
		t.Error("an event of a watch is lost: no acknowledged write tells")
	}
	allowed := slices.IndexFunc(r.Records, func(record AuditRecord) bool {
		return record.Decision == "allow" && slices.ContainsFunc(r.Operations, func(o Operation) bool { return o.Output.AuditID == record.AuditID })
	})
	if allowed < 0 || len(audited(start, shifts, slices.Delete(slices.Clone(r.Records), allowed, allowed+1), r.Operations)) != 1 {
		t.Error("an audit record is lost: no check sees it")
	}
	late := slices.Clone(r.Records)
	late[max(allowed, 0)].Time = time.Now().Add(farthest)
	if len(audited(start, shifts, late, r.Operations)) != 1 {
		t.Error("an audit record comes after the release: no check sees it")
	}
}

// restoredMutations change what a restored server answered, as a backup would that lost or mixed up something.
var restoredMutations = []mutation{
	{"a value of before the backup is gone", func(history []Operation, at int) bool {
		o := &history[at]
		if o.Client != restoredClient || o.Input.Kind != Get || o.Output.Result != OK {
			return false
		}
		o.Output = Output{Result: Absent}
		return true
	}},
	{"a restored value is another one", func(history []Operation, at int) bool {
		o := &history[at]
		if o.Client != restoredClient || o.Input.Kind != Decrypt || o.Output.Result != OK {
			return false
		}
		o.Output.Value = "a later value"
		return true
	}},
}

// wantRestoredSensitive does the same to what a restored server answered.
func wantRestoredSensitive(t *testing.T, restored []Operation) {
	t.Helper()
	for _, m := range restoredMutations {
		if !caught(restored, m) {
			t.Errorf("restored: %s: no check sees it", m.name)
		}
	}
}

// caught tries a mutation at one place after the other, from the middle of the history.
func caught(history []Operation, m mutation) bool {
	tried, changed := 0, slices.Clone(history)
	for i := range history {
		at := (len(history)/3 + i) % len(history)
		if !m.change(changed, at) {
			continue
		}
		var part []Operation
		unknown := 0
		for _, o := range changed {
			if o.Input.Name == history[at].Input.Name {
				part = append(part, o)
				if o.Output.Result == Unknown {
					unknown++
				}
			}
		}
		changed[at] = history[at]
		if unknown > maxUnknown {
			continue
		}
		if porcupine.CheckOperationsTimeout(model(), operations(part), checkTimeout) == porcupine.Illegal {
			return true
		}
		if tried++; tried == candidates {
			break
		}
	}
	return false
}
