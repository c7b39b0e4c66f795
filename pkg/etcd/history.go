// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
)

// keptHistory is never compacted because of its size: younger watches and continue tokens stay valid.
const keptHistory = 30 * time.Second

const (
	// compactRevKey coordinates the compactions of all API servers of one etcd: see etcd3.Compact.
	compactRevKey = "compact_rev_key"
	// pollInterval is how often the size of a remote etcd is read.
	pollInterval = 5 * time.Second
	// historyTimeout bounds the calls of one step.
	historyTimeout = 10 * time.Second
)

// Metrics are registered late: feature gates must be parsed before.
var (
	compactions = metrics.NewCounter(&metrics.CounterOpts{
		Name: "secret_etcd_early_compactions_total",
		Help: "Early compactions of etcd because of the size of its history (--etcd-history-max-bytes) or lack of " +
			"space. Each ends watches and continue tokens that are older than 30 seconds.",
		StabilityLevel: metrics.ALPHA,
	})

	registerHistoryMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(compactions) })
)

// History bounds the bytes of overwritten and deleted values that etcd keeps. Upstream's compactor, which goes by time,
// runs as well: both use one protocol, so that only one of all compactors of an etcd acts. It is not safe for
// concurrent use.
type History struct {
	client   *clientv3.Client
	maxBytes int64
	samples  []sample // oldest first
	inUse    int64    // of the last sample
	// base is the size after the last compaction; growth since then counts as history.
	base int64
	// compacted is the revision of this server's last compaction.
	compacted int64
	// settle is how long a compaction by another server counts as this one's.
	settle time.Duration
}

type sample struct {
	at       time.Time
	revision int64
}

// NewHistory returns a bound of maxBytes, 0 for none, on the history of client's etcd.
func NewHistory(client *clientv3.Client, maxBytes int64) *History {
	registerHistoryMetrics()
	return &History{client: client, maxBytes: maxBytes}
}

// Run bounds the history of an external etcd until ctx ends. It uses the first endpoint that answers.
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
			h.observe(now, status.Header.Revision, status.DbSizeInUse)
			if !h.tooLarge() {
				return nil
			}
			return h.compact(ctx, now, keptHistory)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// observe records etcd's revision and the bytes in use of its database.
func (h *History) observe(now time.Time, revision, inUse int64) {
	if len(h.samples) == 0 {
		h.base = inUse
	}
	h.base = min(h.base, inUse) // etcd removes compacted values gradually
	h.samples = append(h.samples, sample{now, revision})
	for oldest := now.Add(-keptHistory - h.settle); len(h.samples) > 1 && !h.samples[1].at.After(oldest); {
		h.samples = h.samples[1:]
	}
	h.inUse = inUse
}

// tooLarge reports whether the database has grown by more than the bound.
func (h *History) tooLarge() bool { return h.maxBytes > 0 && h.inUse-h.base > h.maxBytes }

// before returns the revision at a time, or 0 if it is unknown.
func (h *History) before(at time.Time) int64 {
	for _, s := range slices.Backward(h.samples) {
		if !s.at.After(at) {
			return s.revision
		}
	}
	return 0
}

// waiting returns the number of revisions since this server's last compaction.
func (h *History) waiting() int64 { return h.samples[len(h.samples)-1].revision - h.compacted }

// compact compacts revisions older than keep, unless this or another server has done so.
func (h *History) compact(ctx context.Context, now time.Time, keep time.Duration) error {
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
		done, _ = strconv.ParseInt(string(got.Kvs[0].Value), 10, 64) // upstream ignores an invalid value too
	}
	if done >= revision || h.settle > 0 && done >= h.before(now.Add(-keep-h.settle)) && done > 0 {
		h.base = h.inUse
		return nil
	}
	_, _, done, err = etcd3.Compact(ctx, h.client, version, revision)
	if errors.Is(err, rpctypes.ErrNoSpace) { // a full database cannot record it, but compacts
		_, err = h.client.Compact(ctx, revision)
		done = revision
	}
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compacting etcd at revision %d: %w", revision, err)
	}
	h.base, h.compacted = h.inUse, done
	if done == revision {
		compactions.Inc()
		klog.V(1).InfoS("Compacted etcd early", "revision", revision, "bytesInUse", h.inUse)
	}
	return nil
}
