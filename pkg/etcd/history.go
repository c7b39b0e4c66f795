// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/klog/v2"
)

// KeptHistory is not compacted because of its size: watches and continue tokens this young go on.
const KeptHistory = 30 * time.Second

const (
	// compactRevKey is where the API servers of one etcd agree on compactions: see etcd3.Compact.
	compactRevKey = "compact_rev_key"
	// pollInterval is how often a remote etcd is asked for its size.
	pollInterval = 5 * time.Second
	// historyTimeout bounds the calls of one step.
	historyTimeout = 10 * time.Second
)

// History bounds the bytes of overwritten and deleted values that etcd keeps. Upstream's compactor, which goes by time, runs beside it:
// both follow the same protocol, so that of all compactors of one etcd a single one acts. It is for one goroutine.
type History struct {
	client   *clientv3.Client
	maxBytes int64
	samples  []sample // oldest first
	inUse    int64    // of the last sample
	// base is the size after the last compaction: what the database has grown by since then counts as history.
	base int64
	// compacted is the revision up to which this server compacted.
	compacted int64
	// settle is how long a compaction by another server counts as one of ours.
	settle time.Duration
}

type sample struct {
	at       time.Time
	revision int64
}

// NewHistory returns a bound of maxBytes, 0 for none, on what client's etcd keeps.
func NewHistory(client *clientv3.Client, maxBytes int64) *History {
	registerHistoryMetrics()
	return &History{client: client, maxBytes: maxBytes}
}

// Run watches over an etcd that runs elsewhere until ctx ends. It asks the first endpoint that answers.
func (h *History) Run(ctx context.Context) {
	h.settle = 3 * pollInterval
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if err := h.poll(ctx, now); err != nil && ctx.Err() == nil {
				klog.V(1).ErrorS(err, "Could not bound the history of etcd; trying again")
			}
		}
	}
}

func (h *History) poll(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	var errs []error
	for _, endpoint := range h.client.Endpoints() {
		status, err := h.client.Status(ctx, endpoint)
		if err == nil {
			h.Observe(now, status.Header.Revision, status.DbSizeInUse)
			if !h.TooLarge() {
				return nil
			}
			return h.Compact(ctx, now, KeptHistory)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Observe takes note of etcd's revision and of the bytes in use of its database.
func (h *History) Observe(now time.Time, revision, inUse int64) {
	if len(h.samples) == 0 {
		h.base = inUse
	}
	h.base = min(h.base, inUse) // etcd removes compacted values bit by bit
	h.samples = append(h.samples, sample{now, revision})
	for oldest := now.Add(-KeptHistory - h.settle); len(h.samples) > 1 && !h.samples[1].at.After(oldest); {
		h.samples = h.samples[1:]
	}
	h.inUse = inUse
}

// TooLarge reports whether the database has grown by more than the bound.
func (h *History) TooLarge() bool { return h.maxBytes > 0 && h.inUse-h.base > h.maxBytes }

// before returns the revision of a time, or 0 when that is not known.
func (h *History) before(at time.Time) int64 {
	for _, s := range slices.Backward(h.samples) {
		if !s.at.After(at) {
			return s.revision
		}
	}
	return 0
}

// Waiting returns how many revisions there are since the last compaction by this server.
func (h *History) Waiting() int64 { return h.samples[len(h.samples)-1].revision - h.compacted }

// Compact removes what is older than keep, unless that was done, by this server or by another one.
func (h *History) Compact(ctx context.Context, now time.Time, keep time.Duration) error {
	revision := h.before(now.Add(-keep))
	if revision <= h.compacted {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	got, err := h.client.Get(ctx, compactRevKey)
	if err != nil {
		return fmt.Errorf("reading %s: %w", compactRevKey, err)
	}
	var version, done int64 // of the key; 0 while there is none
	if len(got.Kvs) > 0 {
		version = got.Kvs[0].Version
		done, _ = strconv.ParseInt(string(got.Kvs[0].Value), 10, 64) // upstream ignores another value too
	}
	if done >= revision || h.settle > 0 && done >= h.before(now.Add(-keep-h.settle)) && done > 0 {
		h.base = h.inUse
		return nil
	}
	_, _, done, err = etcd3.Compact(ctx, h.client, version, revision)
	if errors.Is(err, rpctypes.ErrNoSpace) { // a full database takes no note of it, but compacts
		_, err = h.client.Compact(ctx, revision)
		done = revision
	}
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compacting etcd at revision %d: %w", revision, err)
	}
	h.base, h.compacted = h.inUse, done
	if done == revision {
		compactions.Inc()
		klog.V(1).InfoS("Compacted etcd before its time", "revision", revision, "bytesInUse", h.inUse)
	}
	return nil
}
