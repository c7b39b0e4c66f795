// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/storage/etcd3"
)

// startKept runs a member that looks after itself.
func startKept(t *testing.T, dir string, quota int64, upkeep Upkeep) *Server {
	t.Helper()
	s, err := Start(t.Context(), Config{Dir: dir, LogOutput: io.Discard, QuotaBytes: quota, Upkeep: &upkeep})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// eventually waits until something is true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}

func mustPut(t *testing.T, kv clientv3.KV, key, value string) int64 {
	t.Helper()
	done, err := kv.Put(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return done.Header.Revision
}

// overwrite puts count values of 24 KiB under one key, observes the history at the time at, and returns the revision.
func overwrite(t *testing.T, s *Server, count int, at time.Time, histories ...*History) (revision int64) {
	t.Helper()
	for range count {
		revision = mustPut(t, s.Client(), "/k", strings.Repeat("v", 24<<10))
	}
	s.etcd.Server.Backend().ForceCommit()
	for _, h := range histories {
		h.observe(at, revision, s.etcd.Server.Backend().SizeInUse())
	}
	return revision
}

func compacted(t *testing.T, c *clientv3.Client, revision int64) bool {
	t.Helper()
	_, err := c.Get(t.Context(), "/k", clientv3.WithRev(revision))
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		t.Fatal(err)
	}
	return err != nil
}

// A history above its bound is compacted, but never what is younger than half a minute.
func TestHistoryIsBoundedInBytes(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "etcd"))
	begin := time.Now()
	h := NewHistory(s.Client(), 1<<20)
	old := overwrite(t, s, 100, begin, h)
	if h.tooLarge() {
		t.Error("what was there before counts as history")
	}
	young := overwrite(t, s, 100, begin.Add(keptHistory/2), h)
	last := overwrite(t, s, 100, begin.Add(keptHistory), h)
	if !h.tooLarge() {
		t.Fatal("4.8 MB of history are not above a bound of 1 MiB")
	}
	if err := h.compact(t.Context(), begin.Add(keptHistory), keptHistory); err != nil {
		t.Fatal(err)
	}
	if !compacted(t, s.Client(), old-1) {
		t.Error("the history is not compacted")
	}
	if compacted(t, s.Client(), old) || compacted(t, s.Client(), young) || compacted(t, s.Client(), last) {
		t.Error("a history younger than half a minute is compacted")
	}
	if got := get(t, s.Client(), compactRevKey); got != strconv.FormatInt(old, 10) {
		t.Errorf("other API servers are told revision %s, want %d", got, old)
	}
	if h.observe(begin.Add(keptHistory), last, h.inUse); h.tooLarge() {
		t.Error("the history counts from before the compaction")
	}
}

// API servers that share an etcd compact it once, and upstream's compactor, which goes by time, does not compact it as
// well.
func TestOneOfManyServersCompacts(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "etcd"))
	begin := time.Now()
	ours, theirs := NewHistory(s.Client(), 1<<20), NewHistory(s.Client(), 1<<20)
	ours.settle, theirs.settle = 3*pollInterval, 3*pollInterval
	upstream, _, _, err := etcd3.Compact(t.Context(), s.Client(), 0, 0) // as a server that has just started
	if err != nil {
		t.Fatal(err)
	}
	old := overwrite(t, s, 50, begin, ours, theirs)
	overwrite(t, s, 50, begin.Add(pollInterval), ours, theirs) // a little later, so that the other one would compact further
	now := begin.Add(keptHistory + 2*pollInterval)
	overwrite(t, s, 50, now, ours, theirs)
	if err := ours.compact(t.Context(), now.Add(-2*pollInterval), keptHistory); err != nil {
		t.Fatal(err)
	}
	if err := theirs.compact(t.Context(), now, keptHistory); err != nil {
		t.Fatal(err)
	}
	got, err := s.Client().Get(t.Context(), compactRevKey)
	if err != nil || got.Kvs[0].Version != upstream+1 || string(got.Kvs[0].Value) != strconv.FormatInt(old, 10) {
		t.Errorf("compacted %d times, at last at revision %s, want once at %d (%v)", got.Kvs[0].Version-upstream, got.Kvs[0].Value, old, err)
	}
	if theirs.tooLarge() {
		t.Error("the other server goes on")
	}
	if _, _, revision, err := etcd3.Compact(t.Context(), s.Client(), upstream, old+40); err != nil || revision != old {
		t.Errorf("upstream's compactor: %v, at %d, want to learn of %d", err, revision, old)
	}
	if compacted(t, s.Client(), old) {
		t.Error("compacted twice")
	}
}

// A writer at full speed writes many times the quota. There is always room again.
func TestWriterAtFullSpeed(t *testing.T) {
	const quota = 64 << 20
	s := startKept(t, filepath.Join(t.TempDir(), "etcd"), quota, Upkeep{HistoryBytes: 8 << 20})
	var written, refused atomic.Int64
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			value := strings.Repeat("v", 24<<10)
			for i := 0; written.Load() < 5*quota && t.Context().Err() == nil; i++ {
				switch _, err := s.Client().Put(t.Context(), "/"+strconv.Itoa(worker)+"/"+strconv.Itoa(i%10), value); {
				case err == nil:
					written.Add(int64(len(value)))
				case errors.Is(NoRoom(err), ErrDatabaseFull):
					refused.Add(1)
					time.Sleep(10 * time.Millisecond) // as a client that heeds Retry-After
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	eventually(t, "a write is accepted", func() bool {
		_, err := s.Client().Put(t.Context(), "/last", "v")
		return err == nil
	})
	if size := s.etcd.Server.Backend().Size(); size > quota {
		t.Errorf("the database has %d bytes", size)
	}
	t.Logf("%d bytes written, %d writes refused in between", written.Load(), refused.Load())
}

// A database that is full of live values refuses writes, and takes them again by itself once values were deleted.
func TestFullDatabaseComesBack(t *testing.T) {
	const quota = 32 << 20
	dir := filepath.Join(t.TempDir(), "etcd")
	s := startKept(t, dir, quota, Upkeep{})
	var err error
	for i := 0; err == nil; i++ {
		_, err = s.Client().Put(t.Context(), "/"+strconv.Itoa(i), strings.Repeat("v", 1<<20))
	}
	if !errors.Is(NoRoom(err), ErrDatabaseFull) || !strings.Contains(s.Notice(), ErrDatabaseFull.Error()) {
		t.Fatalf("got %v, notice %q", err, s.Notice())
	}
	s.Stop()
	s = startKept(t, dir, quota, Upkeep{}) // an alarm outlives a restart
	if _, err := s.Client().Get(t.Context(), "/0"); err != nil {
		t.Error(err)
	}
	if _, err := s.Client().Put(t.Context(), "/full", strings.Repeat("v", 1<<20)); !errors.Is(NoRoom(err), ErrDatabaseFull) {
		t.Errorf("after a restart: %v", err)
	}
	// Most of them: etcd looks at its size between commits only, so a fast disk takes a third more than the quota.
	if _, err := s.Client().Delete(t.Context(), "/1", clientv3.WithRange("/4")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a write is accepted", func() bool {
		_, err := s.Client().Put(t.Context(), "/again", strings.Repeat("v", 1<<20))
		return err == nil
	})
	eventually(t, "the notice is gone", func() bool { return s.Notice() == "" })
}

// Free pages go back to the disk in a quiet moment, and at a start.
func TestFreePagesAreGivenBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	s := startKept(t, dir, 0, Upkeep{})
	grow := func() {
		var revision int64
		for i := range 280 {
			revision = mustPut(t, s.Client(), "/big", strings.Repeat(strconv.Itoa(i%10), 1<<20))
		}
		if _, err := s.Client().Compact(t.Context(), revision, clientv3.WithCompactPhysical()); err != nil {
			t.Fatal(err)
		}
		s.etcd.Server.Backend().ForceCommit()
		if size := s.etcd.Server.Backend().Size(); size < leastGain {
			t.Fatalf("the database has %d bytes only", size)
		}
	}
	shrunk := func() bool { return s.etcd.Server.Backend().Size() < 32<<20 }
	grow()
	eventually(t, "free pages are given back", shrunk)
	grow()
	s.Stop()
	if s = startKept(t, dir, 0, Upkeep{}); !shrunk() {
		t.Errorf("%d bytes after a start", s.etcd.Server.Backend().Size())
	}
	if got := get(t, s.Client(), "/big"); got[:1] != "9" {
		t.Errorf("/big = %.1s", got)
	}
}

// A defragmentation waits for the end of a backup: it would stand still until then, and everything else with it.
func TestNothingIsGivenBackDuringASnapshot(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "etcd"))
	mustPut(t, s.Client(), "/k", strings.Repeat("v", 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	snapshot, err := dial(t, s).Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(snapshot, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if s.snapshots.TryLock() {
		t.Error("nothing holds off a defragmentation")
		s.snapshots.Unlock()
	}
	cancel()
	_ = snapshot.Close()
	eventually(t, "the snapshot has ended", s.snapshots.TryLock)
}

// What was accepted can be committed on a disk that somebody fills: the database owns blocks beyond its end. A reserve
// is there for a start, which takes it on a full disk only.
func TestTheMemberOwnsItsNextBlocks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	startKept(t, dir, 0, Upkeep{MinFreeBytes: LeastMinFree})
	var database, reserve syscall.Stat_t
	for file, stat := range map[string]*syscall.Stat_t{filepath.Join("member", "snap", "db"): &database, "reserve": &reserve} {
		if err := syscall.Stat(filepath.Join(dir, file), stat); err != nil {
			t.Fatal(err)
		}
	}
	if owned := database.Blocks * 512; owned < database.Size+aheadBytes {
		t.Errorf("the database has %d bytes and owns %d", database.Size, owned)
	}
	if owned := reserve.Blocks * 512; owned < reserveBytes {
		t.Errorf("the reserve owns %d bytes", owned)
	}
	if err := MakeRoom(dir); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Stat(reserveFile(dir), &reserve); err != nil {
		t.Errorf("the reserve was given up without need: %v", err)
	}
}
