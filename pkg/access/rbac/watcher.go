// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// DefaultInterval is how often a Watcher looks at its folder. A change is in force after at most three intervals.
const DefaultInterval = time.Second

// Watcher puts a changed set of manifests in force without a restart. A set with any fault is refused whole: the last
// good one stays, one line is logged, and Healthy and the metrics say so.
//
// It compares contents instead of waiting for file events: that is right for editors that rename, for mounted
// ConfigMaps, for network file systems and for a folder that goes away and comes back, and the folder is small.
type Watcher struct {
	dir      string
	store    *Store
	interval time.Duration

	// seen is what the last look found, tried what was last put in force or refused.
	seen, tried [sha256.Size]byte
	fault       atomic.Pointer[error]
}

// NewWatcher returns a Watcher that keeps the snapshot of a store in line with a folder. The store should hold what
// Load returned for that folder.
func NewWatcher(dir string, store *Store) *Watcher {
	registerMetrics()
	recordSuccess()
	loaded := store.Snapshot().digest
	return &Watcher{dir: dir, store: store, interval: DefaultInterval, seen: loaded, tried: loaded}
}

// Run watches until the context ends. With an empty dir there is nothing to watch.
func (w *Watcher) Run(ctx context.Context) {
	if w.dir == "" {
		<-ctx.Done()
		return
	}
	reload.Every(ctx, w.interval, func(_ context.Context, asked bool) { w.poll(asked) })
}

// Healthy returns why the last change was refused, or nil when the manifests in the folder are in force.
func (w *Watcher) Healthy() error {
	if fault := w.fault.Load(); fault != nil {
		return *fault
	}
	return nil
}

// poll looks at the folder once. A change is acted on when two looks in a row find the same, so that a file which is
// still being written, or the first of several, is not taken for the new set. When asked, by SIGHUP, the set is complete.
func (w *Watcher) poll(asked bool) {
	files, err := readDir(w.dir)
	found := digest(files)
	if err != nil {
		found = sha256.Sum256([]byte(err.Error()))
	}
	settled := found == w.seen || asked
	w.seen = found
	if !settled || (found == w.tried && (!asked || w.Healthy() == nil)) {
		return
	}
	w.tried = found

	var snapshot *Snapshot
	if err == nil {
		snapshot, err = parse(files)
	}
	w.finish(snapshot, err)
}

func (w *Watcher) finish(snapshot *Snapshot, err error) {
	if err != nil {
		w.fault.Store(&err)
		reloadTotal.WithLabelValues("error").Inc()
		lastReload.Set(0)
		klog.ErrorS(oneLine(err), "RBAC manifests were not reloaded, the last good set stays in force", "dir", w.dir)
		return
	}
	warnOfFolders(w.dir)
	w.store.Swap(snapshot)
	w.fault.Store(nil)
	reloadTotal.WithLabelValues("success").Inc()
	recordSuccess()
	klog.InfoS("RBAC manifests reloaded", "dir", w.dir, "objects", snapshot.Len())
}

// oneLine keeps all faults of a set in one line of the log.
func oneLine(err error) error {
	return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
}
