// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/klog/v2"
)

const (
	// upkeepInterval is short, so that a fast writer does not outrun what is allocated ahead.
	upkeepInterval = 500 * time.Millisecond
	// pressedInterval is how often etcd is compacted without room, and how much of the history then stays.
	pressedInterval = 2 * time.Second
	// leastWaiting revisions are worth that: each compaction makes one.
	leastWaiting = 10
	// quietTime is how long there have to be few calls, quietCalls in upkeepInterval, before a pause disturbs nobody.
	quietTime  = 10 * time.Second
	quietCalls = 5
	// leastGain is what a defragmentation has to give back; pressedGain on a disk without room.
	leastGain   = 256 << 20
	pressedGain = 16 << 20
	// maxPause bounds the pause of a defragmentation while the server runs, and startPause that at its start.
	maxPause   = 5 * time.Second
	startPause = time.Minute
	// assumedRate is how many bytes a second a busy disk copies, until that was measured.
	assumedRate = 20 << 20
	// retryInterval is how long a defragmentation that failed is not tried again.
	retryInterval = time.Minute
)

// Upkeep is what a member needs that runs for years, with nobody to look after it.
type Upkeep struct {
	// HistoryBytes bounds overwritten and deleted values: above it they are compacted before their time. 0 sets no bound.
	HistoryBytes int64
	// MinFreeBytes of the disk must be free for a write: AutoMinFree, LeastMinFree or more, or 0 for no such check.
	MinFreeBytes int64
}

// upkeep does it, in one goroutine.
type upkeep struct {
	server  *Server
	disk    *disk
	history *History
	calls   atomic.Int64

	quietSince time.Time
	seenCalls  int64
	rate       float64 // bytes a second of the last defragmentation
	notBefore  time.Time
	pressedAt  time.Time
	stop       context.CancelFunc
	done       chan struct{}
}

// startUpkeep gives back free pages, which disturbs nobody yet, and puts a gate before what Client returns.
func (s *Server) startUpkeep(dir string, config Upkeep) error {
	registerMetrics()
	d, err := newDisk(dir, config.MinFreeBytes)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	u := &upkeep{
		server: s, disk: d, history: NewHistory(s.raw, config.HistoryBytes),
		rate: assumedRate, quietSince: time.Now(), stop: cancel, done: make(chan struct{}),
	}
	databaseSize.WithLabelValues("quota").Set(float64(s.etcd.Server.Cfg.QuotaBackendBytes))
	u.giveBack(time.Now(), startPause)
	u.lookAtDisk()
	s.client = clientv3.NewCtxClient(s.raw.Ctx())
	s.client.KV, s.client.Watcher, s.client.Lease = Gate(s.raw.KV, u.allow), s.raw.Watcher, s.raw.Lease
	s.client.Maintenance, s.client.Cluster, s.upkeep = s.raw.Maintenance, s.raw.Cluster, u
	go u.run(ctx)
	return nil
}

func (u *upkeep) close() {
	u.stop()
	<-u.done
}

// allow is asked before each call of the API server.
func (u *upkeep) allow(call Call) error {
	u.calls.Add(1)
	return u.disk.allow(call)
}

// Notice says why writes are refused, "" when they are not.
func (s *Server) Notice() string {
	switch {
	case s.upkeep == nil:
		return ""
	case s.upkeep.disk.low.Load():
		return ErrDiskFull.Error() + ": writes are refused"
	case s.upkeep.full():
		return ErrDatabaseFull.Error() + ": writes are refused"
	default:
		return ""
	}
}

func (u *upkeep) run(ctx context.Context) {
	defer close(u.done)
	ticker := time.NewTicker(upkeepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			u.lookAtDisk()
			if err := u.boundHistory(ctx, now); err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "Could not bound the history of etcd; trying again")
			}
			u.noteCalls(now)
			u.giveBack(now, maxPause)
			if err := u.disarm(ctx); err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "Could not disarm the alarm of etcd; trying again")
			}
		}
	}
}

func (u *upkeep) lookAtDisk() {
	if err := u.disk.observe(filepath.Join(u.disk.dir, "member", "snap", "db")); err != nil {
		klog.ErrorS(err, "Could not keep room on the disk of etcd")
	}
}

// sizes returns the bytes of the database's file, of its part in use, and of the quota.
func (u *upkeep) sizes() (size, inUse, quota int64) {
	backend := u.server.etcd.Server.Backend()
	size, inUse = backend.Size(), backend.SizeInUse()
	databaseSize.WithLabelValues("file").Set(float64(size))
	databaseSize.WithLabelValues("in_use").Set(float64(inUse))
	return size, inUse, u.server.etcd.Server.Cfg.QuotaBackendBytes
}

// full reports whether etcd refuses writes.
func (u *upkeep) full() bool {
	for _, alarm := range u.server.etcd.Server.Alarms() {
		if alarm.Alarm == pb.AlarmType_NOSPACE {
			return true
		}
	}
	return false
}

// boundHistory compacts a history that is too large. A database that is nearly full keeps next to none, since it would refuse
// writes, and on a full disk only what was compacted can be given back.
func (u *upkeep) boundHistory(ctx context.Context, now time.Time) error {
	_, inUse, quota := u.sizes()
	u.history.Observe(now, u.server.etcd.Server.KV().Rev(), inUse)
	if u.disk.allow(Housekeeping) != nil {
		return nil //nolint:nilerr // a full disk is not a fault of this step
	}
	keep, due, full := KeptHistory, u.history.TooLarge(), u.full()
	pressed := now.Sub(u.pressedAt) >= pressedInterval
	switch {
	case full:
		keep, due = 0, pressed
	case inUse > quota/10*9:
		keep, due = pressedInterval, due || pressed && u.history.Waiting() > leastWaiting
	case inUse > quota/10*8, u.disk.low.Load():
		due = due || pressed && u.history.Waiting() > leastWaiting
	}
	if !due {
		return nil
	}
	u.pressedAt = now
	err := u.history.Compact(ctx, now, keep)
	if full {
		err = errors.Join(err, u.refresh(ctx))
	}
	return err
}

// refresh has etcd commit. Pages count as free some commits after they were freed, and a full database has none.
func (u *upkeep) refresh(ctx context.Context) error {
	for _, action := range []pb.AlarmRequest_AlarmAction{pb.AlarmRequest_DEACTIVATE, pb.AlarmRequest_ACTIVATE} {
		if _, err := u.server.etcd.Server.Alarm(ctx, &pb.AlarmRequest{
			Action: action, MemberID: uint64(u.server.etcd.Server.MemberID()), Alarm: pb.AlarmType_NOSPACE,
		}); err != nil {
			return fmt.Errorf("writing the alarm again: %w", err)
		}
	}
	return nil
}

// noteCalls finds quiet moments.
func (u *upkeep) noteCalls(now time.Time) {
	calls := u.calls.Load()
	if calls-u.seenCalls > quietCalls {
		u.quietSince = now
	}
	u.seenCalls = calls
}

// giveBack defragments if that is worth a pause, which it expects to be shorter than limit. A database that is full, or on a full
// disk, is worth any.
func (u *upkeep) giveBack(now time.Time, limit time.Duration) {
	size, inUse, quota := u.sizes()
	free := size - inUse
	pressed := u.full() && size > roomy(quota) && inUse < roomy(quota) || u.disk.low.Load() && free >= max(pressedGain, size/8)
	idle := free >= leastGain && free > size/2 && (limit == startPause || now.Sub(u.quietSince) >= quietTime)
	if !pressed && (!idle || time.Duration(float64(inUse)/u.rate*float64(time.Second)) > limit) || now.Before(u.notBefore) {
		return
	}
	if err := u.defragment(size, inUse); err != nil {
		u.notBefore = now.Add(retryInterval)
		klog.ErrorS(err, "Could not give back free pages of etcd; trying again later", "bytes", size, "bytesInUse", inUse)
	}
}

func (u *upkeep) defragment(size, inUse int64) error {
	if room, _, err := space(u.disk.dir); err != nil || room < inUse+u.disk.floor {
		return errors.Join(err, fmt.Errorf("the disk has %d bytes free, and a copy needs %d", room, inUse+u.disk.floor))
	}
	if !u.server.snapshots.TryLock() { // it would wait for them, and everything else for it
		return errors.New("a backup is being taken")
	}
	defer u.server.snapshots.Unlock()
	begin := time.Now()
	if err := u.server.etcd.Server.Backend().Defrag(); err != nil {
		return err
	}
	pause := time.Since(begin)
	defragmentations.Observe(pause.Seconds())
	if inUse > leastGain { // what is smaller says little
		u.rate = float64(inUse) / pause.Seconds()
	}
	after, _, _ := u.sizes()
	klog.InfoS("Gave back free pages of etcd", "pause", pause, "beforeBytes", size, "afterBytes", after)
	return nil
}

// roomy is the size of a database that takes writes again.
func roomy(quota int64) int64 { return quota / 16 * 15 }

// disarm ends etcd's refusal of writes once there is room. Other alarms stay.
func (u *upkeep) disarm(ctx context.Context) error {
	size, _, quota := u.sizes()
	if size > roomy(quota) || u.disk.allow(Housekeeping) != nil {
		return nil //nolint:nilerr // there is no room yet
	}
	for _, alarm := range u.server.etcd.Server.Alarms() {
		if alarm.Alarm != pb.AlarmType_NOSPACE {
			continue
		}
		if _, err := u.server.raw.AlarmDisarm(ctx, (*clientv3.AlarmMember)(alarm)); err != nil {
			return fmt.Errorf("disarming: %w", err)
		}
		alarmsDisarmed.Inc()
		klog.InfoS("The database of etcd has room again; accepting writes", "bytes", size, "quotaBytes", quota)
	}
	return nil
}
