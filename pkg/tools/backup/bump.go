// SPDX-License-Identifier: Apache-2.0

package backup

import "time"

// How far a restore raises the revision. It must end above every revision that was ever handed out, or a watch from
// before would wait in silence and miss changes. Those are: what was written after the backup, which nobody can count
// any more, and what was written after an earlier restore of the same backup, which starts from the same revision. Both
// are a time before now multiplied by a rate of writes. So the bump grows with the clock, faster than etcd can write: a
// later restore ends above an earlier one and all that was written in between, and any backup that is younger than the
// epoch is covered.
const (
	// writesPerSecond is what etcd's own benchmark (etcd.io/docs, "Performance") reaches with a thousand clients and
	// values of 256 bytes.
	writesPerSecond = 50_000
	// leastBump is what etcd's documentation of disaster recovery advises for a backup of up to a week. It is there for
	// a clock that is wrong.
	leastBump = 1_000_000_000
)

// epoch is before the first backup that this program can have written.
var epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// revisionBump is how much the revision of a backup rises when it is restored at a time. In ten years that is about
// 2^44: five hundred restores of one another fit in the 53 bits that a JSON number holds exactly, and far more in
// etcd's 63.
func revisionBump(now time.Time) uint64 {
	return leastBump + writesPerSecond*uint64(max(now.Sub(epoch)/time.Second, 0))
}
