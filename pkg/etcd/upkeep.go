// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
)

const (
	// upkeepInterval is short, so that fast writers do not exhaust what is allocated ahead.
	upkeepInterval = 500 * time.Millisecond
	// pressedInterval is how often etcd is compacted while space is short, and how much of the history then stays.
	pressedInterval = 2 * time.Second
	// leastWaiting is the least number of revisions for that: each compaction adds one.
	leastWaiting = 10
	// A pause is harmless after quietTime with at most quietCalls in each upkeepInterval.
	quietTime  = 10 * time.Second
	quietCalls = 5
	// leastGain is the least that a defragmentation must free; pressedGain on a nearly full disk.
	leastGain   = 256 << 20
	pressedGain = 16 << 20
	// maxPause and startPause bound the expected pause of a defragmentation while the server runs and at its start.
	maxPause   = 5 * time.Second
	startPause = time.Minute
	// assumedRate is the copy rate of a busy disk in bytes per second, until it has been measured.
	assumedRate = 20 << 20
	// retryInterval is the time after a failed defragmentation until the next try.
	retryInterval = time.Minute
)

var (
	databaseSize = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Name: "secret_etcd_database_bytes",
		Help: "Database of the embedded etcd: size of its file (file), bytes of it that are in use, history " +
			"included (in_use), and the size at which etcd refuses writes (quota).",
		StabilityLevel: metrics.ALPHA,
	}, []string{"kind"})

	defragmentations = metrics.NewHistogram(&metrics.HistogramOpts{
		Name: "secret_etcd_defragmentation_duration_seconds",
		Help: "Time that the embedded etcd was blocked by a defragmentation, which frees unused pages " +
			"of its database.",
		Buckets:        metrics.ExponentialBuckets(0.01, 2, 12),
		StabilityLevel: metrics.ALPHA,
	})

	alarmsDisarmed = metrics.NewCounter(&metrics.CounterOpts{
		Name:           "secret_etcd_alarms_disarmed_total",
		Help:           "Number of times the embedded etcd was full, refused writes and accepted them again.",
		StabilityLevel: metrics.ALPHA,
	})

	registerMetrics = sync.OnceFunc(func() {
		legacyregistry.MustRegister(diskFree, diskMargin, databaseSize, defragmentations, alarmsDisarmed)
	})
)

// Upkeep configures the unattended maintenance of a member.
type Upkeep struct {
	// HistoryBytes bounds overwritten and deleted values: above it they are compacted early. 0 sets no bound.
	HistoryBytes int64
	// MinFreeBytes of the disk must be free for a write: AutoMinFree, LeastMinFree or more, or 0 to disable the check.
	MinFreeBytes int64
}

// upkeep runs in one goroutine; only calls is shared.
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

// startUpkeep frees unused pages, while a pause is still harmless, and puts the gate in front of Client.
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
	s.client.KV, s.client.Watcher, s.client.Lease = newGate(s.raw.KV, u.allow), s.raw.Watcher, s.raw.Lease
	s.client.Maintenance, s.client.Cluster, s.upkeep = s.raw.Maintenance, s.raw.Cluster, u
	go u.run(ctx)
	return nil
}

func (u *upkeep) close() {
	u.stop()
	<-u.done
}

// allow is called before each call of the API server.
func (u *upkeep) allow(call call) error {
	u.calls.Add(1)
	return u.disk.allow(call)
}

// Notice returns why writes are refused, "" if they are not.
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
		klog.ErrorS(err, "Could not reserve disk space for etcd")
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

// full reports whether etcd refuses writes because of its quota.
func (u *upkeep) full() bool {
	for _, alarm := range u.server.etcd.Server.Alarms() {
		if alarm.Alarm == pb.AlarmType_NOSPACE {
			return true
		}
	}
	return false
}

// boundHistory compacts a history that is too large. A nearly full database keeps almost none, since it would refuse
// writes, and on a full disk only compacted values can be freed.
func (u *upkeep) boundHistory(ctx context.Context, now time.Time) error {
	_, inUse, quota := u.sizes()
	u.history.observe(now, u.server.etcd.Server.KV().Rev(), inUse)
	if u.disk.allow(housekeeping) != nil {
		return nil //nolint:nilerr // retried once the disk has space
	}
	keep, due, full := keptHistory, u.history.tooLarge(), u.full()
	pressed := now.Sub(u.pressedAt) >= pressedInterval
	switch {
	case full:
		keep, due = 0, pressed
	case inUse > quota/10*9:
		keep, due = pressedInterval, due || pressed && u.history.waiting() > leastWaiting
	case inUse > quota/10*8, u.disk.low.Load():
		due = due || pressed && u.history.waiting() > leastWaiting
	}
	if !due {
		return nil
	}
	u.pressedAt = now
	err := u.history.compact(ctx, now, keep)
	if full {
		err = errors.Join(err, u.refresh(ctx))
	}
	return err
}

// refresh makes etcd commit. Pages count as free a few commits after they were freed, and a full database commits
// nothing else.
func (u *upkeep) refresh(ctx context.Context) error {
	for _, action := range []pb.AlarmRequest_AlarmAction{pb.AlarmRequest_DEACTIVATE, pb.AlarmRequest_ACTIVATE} {
		if _, err := u.server.etcd.Server.Alarm(ctx, &pb.AlarmRequest{
			Action: action, MemberID: uint64(u.server.etcd.Server.MemberID()), Alarm: pb.AlarmType_NOSPACE,
		}); err != nil {
			return fmt.Errorf("rewriting the alarm: %w", err)
		}
	}
	return nil
}

// noteCalls records when there were many calls.
func (u *upkeep) noteCalls(now time.Time) {
	calls := u.calls.Load()
	if calls-u.seenCalls > quietCalls {
		u.quietSince = now
	}
	u.seenCalls = calls
}

// giveBack defragments if that is worth a pause and the pause should be shorter than limit. For a full database or disk
// any pause is worth it.
func (u *upkeep) giveBack(now time.Time, limit time.Duration) {
	size, inUse, quota := u.sizes()
	free := size - inUse
	pressed := u.full() && size > roomy(quota) && inUse < roomy(quota) ||
		u.disk.low.Load() && free >= max(pressedGain, size/8)
	idle := free >= leastGain && free > size/2 && (limit == startPause || now.Sub(u.quietSince) >= quietTime)
	if !pressed && (!idle || time.Duration(float64(inUse)/u.rate*float64(time.Second)) > limit) ||
		now.Before(u.notBefore) {
		return
	}
	if err := u.defragment(size, inUse); err != nil {
		u.notBefore = now.Add(retryInterval)
		klog.ErrorS(err, "Could not defragment etcd; trying again later", "bytes", size, "bytesInUse", inUse)
	}
}

func (u *upkeep) defragment(size, inUse int64) error {
	if room, _, err := space(u.disk.dir); err != nil || room < inUse+u.disk.floor {
		return errors.Join(err, fmt.Errorf("the disk has %d bytes free, but a copy needs %d", room, inUse+u.disk.floor))
	}
	if !u.server.snapshots.TryLock() { // it would wait for the snapshots and block everything else
		return errors.New("a backup is being taken")
	}
	defer u.server.snapshots.Unlock()
	start := time.Now()
	if err := u.server.etcd.Server.Backend().Defrag(); err != nil {
		return err
	}
	pause := time.Since(start)
	defragmentations.Observe(pause.Seconds())
	if inUse > leastGain { // a smaller one measures little
		u.rate = float64(inUse) / pause.Seconds()
	}
	after, _, _ := u.sizes()
	klog.InfoS("Defragmented etcd", "pause", pause, "beforeBytes", size, "afterBytes", after)
	return nil
}

// roomy is the size below which a database accepts writes again.
func roomy(quota int64) int64 { return quota / 16 * 15 }

// disarm clears etcd's NOSPACE alarm once there is space. Other alarms stay.
func (u *upkeep) disarm(ctx context.Context) error {
	size, _, quota := u.sizes()
	if size > roomy(quota) || u.disk.allow(housekeeping) != nil {
		return nil //nolint:nilerr // there is no space yet
	}
	for _, alarm := range u.server.etcd.Server.Alarms() {
		if alarm.Alarm != pb.AlarmType_NOSPACE {
			continue
		}
		if _, err := u.server.raw.AlarmDisarm(ctx, (*clientv3.AlarmMember)(alarm)); err != nil {
			return fmt.Errorf("disarming the alarm: %w", err)
		}
		alarmsDisarmed.Inc()
		klog.InfoS("The database of etcd has space again; accepting writes", "bytes", size, "quotaBytes", quota)
	}
	return nil
}
