// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"testing"
	"time"
)

// Whatever is restored in whatever order, a later restore ends above an earlier one and all that was written since.
func TestRevisionBump(t *testing.T) {
	start := epoch.AddDate(0, 8, 0)
	restored := func(revision int64, now time.Time) int64 { return revision + int64(revisionBump(revision, now)) }
	a := int64(1000)
	first := restored(a, start)
	b := first + 20_000*3600 // a backup of the restored server, after an hour of writes
	second := restored(b, start.Add(time.Hour))
	if second <= b {
		t.Errorf("restored at %d from a backup at %d", second, b)
	}
	if third := restored(a, start.Add(time.Hour+time.Second)); third <= second {
		t.Errorf("restored at %d, while %d was handed out", third, second)
	}
	if got := restored(a, epoch.AddDate(-10, 0, 0)); got != leastBump {
		t.Errorf("with a clock before the epoch: %d", got)
	}
	if ahead := restored(first, epoch); ahead <= first {
		t.Errorf("a backup from a clock that was ahead is restored at %d, from %d", ahead, first)
	}
	if got := restored(a, epoch.AddDate(1000, 0, 0)); got >= 1<<53 {
		t.Errorf("%d in a thousand years, which JSON does not hold", got)
	}
}
