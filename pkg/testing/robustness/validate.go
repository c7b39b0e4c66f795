// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkTimeout bounds the search for an order of all operations on one name.
const checkTimeout = 5 * time.Minute

// linearizable looks, for each name, for an order of its operations that explains every answer. It returns the names of
// which there is none, with a picture of the first.
func linearizable(history []Operation) (faults []string, picture func(path string) error) {
	for _, part := range byName(operations(history)) {
		result, info := porcupine.CheckOperationsVerbose(model(), part, checkTimeout)
		if result == porcupine.Ok {
			continue
		}
		name := part[0].Input.(Input).Name
		faults = append(faults, fmt.Sprintf("%s is not linearizable (%s): a write was lost, or a value or a read is wrong", name, result))
		if picture == nil {
			picture = func(path string) error { return porcupine.VisualizePath(model(), info, path) }
		}
	}
	return faults, picture
}

// rising wants the revisions of each watch to rise.
func rising(segments []Segment) (faults []string) {
	for _, segment := range segments {
		last := segment.From
		for _, event := range segment.Events {
			if event.ResourceVersion <= last {
				faults = append(faults, fmt.Sprintf("the watch of server %d went from %d to %d (%s of %s)",
					segment.Server, last, event.ResourceVersion, event.Type, event.Name))
			}
			last = max(last, event.ResourceVersion)
		}
	}
	return faults
}

// complete wants each acknowledged write in every watch that was there, under its revision.
func complete(segments []Segment, history []Operation) (faults []string) {
	for _, segment := range segments {
		if len(segment.Events) == 0 {
			continue
		}
		seen := map[int64]Event{}
		for _, event := range segment.Events {
			seen[event.ResourceVersion] = event
		}
		last := segment.Events[len(segment.Events)-1].ResourceVersion
		for _, o := range history {
			at := o.Output.ResourceVersion
			if o.Input.Op == "" || o.Output.Result != OK || at <= segment.From || at > last {
				continue
			}
			if event := seen[at]; event.Name != o.Input.Name || event.Op != o.Input.Op {
				faults = append(faults, fmt.Sprintf("the watch of server %d lacks %s %s of %s at %d",
					segment.Server, o.Input.Kind, o.Input.Op, o.Input.Name, at))
			}
		}
	}
	return faults
}

// agree wants any two watches to have the same events where they overlap.
func agree(segments []Segment) (faults []string) {
	for i, one := range segments {
		for _, other := range segments[i+1:] {
			if len(one.Events) == 0 || len(other.Events) == 0 {
				continue
			}
			from := max(one.From, other.From)
			to := min(one.Events[len(one.Events)-1].ResourceVersion, other.Events[len(other.Events)-1].ResourceVersion)
			a, b := within(one.Events, from, to), within(other.Events, from, to)
			for n := range min(len(a), len(b)) {
				if a[n] != b[n] {
					faults = append(faults, fmt.Sprintf("the watches of servers %d and %d differ: %v and %v", one.Server, other.Server, a[n], b[n]))
					break
				}
			}
			if len(a) != len(b) {
				faults = append(faults, fmt.Sprintf("the watches of servers %d and %d have %d and %d events between %d and %d",
					one.Server, other.Server, len(a), len(b), from, to))
			}
		}
	}
	return faults
}

func within(events []Event, from, to int64) []Event {
	var found []Event
	for _, event := range events {
		if event.ResourceVersion > from && event.ResourceVersion <= to {
			found = append(found, event)
		}
	}
	return found
}

// AuditRecord is what the check needs of a line of a decrypt audit log.
type AuditRecord struct {
	Server   int       `json:"server"`
	Kind     string    `json:"kind"`
	AuditID  string    `json:"auditID"`
	Name     string    `json:"name"`
	Decision string    `json:"decision"`
	Time     time.Time `json:"time"`
}

// audited wants a record for each value that was released, from before the release. A record may have the time of a
// clock that was off by one of the shifts of its server.
func audited(start time.Time, shifts [replicas][]time.Duration, records []AuditRecord, history []Operation) (faults []string) {
	type key struct {
		server        int
		auditID, name string
	}
	allowed := map[key]time.Time{}
	for _, record := range records {
		if record.Kind == "decrypt" && record.Decision == "allow" {
			allowed[key{record.Server, record.AuditID, record.Name}] = record.Time
		}
	}
	for _, o := range history {
		if o.Input.Kind != Decrypt || o.Output.Result != OK {
			continue
		}
		at, found := allowed[key{o.Server, o.Output.AuditID, o.Input.Name}]
		switch released := start.Add(time.Duration(o.Return)); {
		case !found:
			faults = append(faults, fmt.Sprintf("server %d released the value of %s (audit id %q) without a record", o.Server, o.Input.Name, o.Output.AuditID))
		case !beforeOrShifted(at, released, shifts[o.Server]):
			faults = append(faults, fmt.Sprintf("server %d recorded the release of %s after it", o.Server, o.Input.Name))
		}
	}
	return faults
}

func beforeOrShifted(at, released time.Time, shifts []time.Duration) bool {
	return !at.After(released) || slices.ContainsFunc(shifts, func(shift time.Duration) bool { return !at.Add(-shift).After(released) })
}
