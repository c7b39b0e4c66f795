// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"testing"
	"time"
)

// A restore ends above what can have been written since the backup, and above an earlier restore and all written since.
func TestRevisionBump(t *testing.T) {
	start := epoch.AddDate(0, 8, 0)
	if got := revisionBump(epoch.AddDate(-10, 0, 0)); got != leastBump {
		t.Errorf("a clock before the epoch: %d", got)
	}
	for _, later := range []time.Duration{time.Second, time.Minute, 30 * 24 * time.Hour} {
		between := revisionBump(start.Add(later)) - revisionBump(start)
		if between != writesPerSecond*uint64(later/time.Second) {
			t.Errorf("%s later: %d more", later, between)
		}
	}
	if got := 500 * revisionBump(epoch.AddDate(10, 0, 0)); got >= 1<<53 {
		t.Errorf("500 restores in ten years reach %d, which JSON does not hold", got)
	}
}
