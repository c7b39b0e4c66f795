// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// unsyncable is a file that takes what is written to it and that the kernel refuses to sync: a pipe.
func unsyncable(t *testing.T) *file {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return &file{f: w}
}

// What the disk does not confirm is an error, if it is asked; a file whose sync does nothing would not see it.
func TestSyncAsksTheDisk(t *testing.T) {
	if err := unsyncable(t).append([]byte("x"), 1, true); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("append with sync: %v", err)
	}
	f := unsyncable(t)
	if err := f.append([]byte("x"), 1, false); err != nil || !f.unsynced {
		t.Errorf("append without sync: %v; unsynced: %v", err, f.unsynced)
	}
	if err := f.sync(); !errors.Is(err, syscall.EINVAL) || !f.unsynced {
		t.Errorf("sync: %v; unsynced: %v", err, f.unsynced)
	}
	if err := f.close(true); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("close with sync: %v", err)
	}
}

// With FsyncAlways a record is on the disk before Record returns.
func TestAlwaysSyncsBeforeRecordReturns(t *testing.T) {
	for mode, unsynced := range map[Fsync]bool{FsyncAlways: false, FsyncNever: true} {
		c := testConfig(t)
		c.Fsync = mode
		l := mustOpen(t, c)
		for range 3 {
			mustRecord(t, l, allowed("x"))
			if l.file.unsynced != unsynced { // the writer waits for the next record
				t.Errorf("%s: unsynced: %v, want %v", mode, l.file.unsynced, unsynced)
			}
		}
	}
}

// With FsyncInterval the head moves once the disk confirmed it, and the first lines of a file are on the disk like its
// name.
func TestIntervalMovesTheHeadAfterTheSync(t *testing.T) {
	c := testConfig(t)
	c.Fsync = FsyncInterval
	if l := mustOpen(t, c); l.file.unsynced {
		t.Error("the first lines of the file are not synced")
	}
	l := &Log{config: c, file: unsyncable(t), keys: mustKeys(t, c.KeyFile)}
	l.durable.Store(&Head{})
	must(t, l.append([]entry{{kind: kindDecrypt, fields: []byte("{}")}}))
	for _, when := range []string{"before the sync", "after a sync that failed"} {
		if head := l.Head(); head != (Head{}) {
			t.Errorf("%s the head is %v", when, head)
		}
		l.syncNow()
	}
}
