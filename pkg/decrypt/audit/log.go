// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"k8s.io/klog/v2"
)

// Errors of Record, beside those of the disk.
var (
	// ErrClosed says that the log is closed.
	ErrClosed = errors.New("the decrypt audit log is closed")
	// ErrBusy says that so much waits to be written that no more is taken.
	ErrBusy = errors.New("the decrypt audit log cannot keep up")
)

// lockSuffix names the lock file of a log, beside it. It stays when the server ends, and means nothing then.
const lockSuffix = ".lock"

// Log is an open decrypt audit log. One goroutine writes; Record hands it lines and waits.
type Log struct {
	config  Config
	keys    *Keys
	lock    *fileutil.LockedFile
	queue   *queue
	limiter *limiter
	durable atomic.Pointer[Head]
	stop    context.CancelFunc
	done    sync.WaitGroup
	closing sync.Once

	// What follows is the writer's alone.
	file  *file // nil: one has to be begun, for reason next
	next  opening
	head  Head
	chain string
	since uint64
	buf   []byte
	// written is nil but in tests that stand between a write and the check behind it.
	written func()
}

var _ Recorder = (*Log)(nil)

// Open goes on with the log at config.Path or begins one. It compares what it finds with the published head; see
// Config.RefuseCutOff. The caller must Close it.
func Open(ctx context.Context, config Config) (*Log, error) {
	if err := errors.Join(config.Validate()...); err != nil {
		return nil, err
	}
	registerMetrics()
	config.Path = filepath.Clean(config.Path)
	if err := os.MkdirAll(config.dir(), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the decrypt audit log: %w", err)
	}
	l := &Log{config: config, queue: newQueue(), limiter: newLimiter(config, time.Now)}
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(err, l.release())
	}
	return l, nil
}

func (l *Log) open(ctx context.Context) (err error) {
	l.lock, err = fileutil.TryLockFile(l.config.Path+lockSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return fmt.Errorf("the decrypt audit log %s is in use by another server: give each its own", l.config.Path)
	}
	if err != nil {
		return fmt.Errorf("locking the decrypt audit log: %w", err)
	}
	if l.keys, err = l.config.loadKeys(); err != nil {
		return err
	}
	if err := l.resume(ctx); err != nil {
		return err
	}
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.done.Go(func() { l.write(ctx) })
	l.done.Go(func() { l.publish(ctx) })
	return nil
}

// Record implements Recorder.
func (l *Log) Record(ctx context.Context, records ...Record) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("decrypt audit log: %w", err)
	}
	for i := range records {
		if err := records[i].check(); err != nil {
			return err
		}
	}
	entries, denied, err := l.entries(records)
	if err != nil {
		return err
	}
	if err := l.queue.submit(ctx, entries); err != nil {
		return fmt.Errorf("decrypt audit log: %w", err)
	}
	recordsWritten.WithLabelValues(string(Deny)).Add(float64(denied))
	recordsWritten.WithLabelValues(string(Allow)).Add(float64(len(entries) - denied))
	return nil
}

// entries are the lines of records, without those over the limit of their caller.
func (l *Log) entries(records []Record) (entries []entry, denied int, err error) {
	now := time.Now()
	entries = make([]entry, 0, len(records))
	for _, r := range records {
		if r.Decision == Deny {
			if !l.limiter.admit(&r) {
				continue
			}
			denied++
		}
		if r.Time.IsZero() {
			r.Time = now
		}
		r.Time = r.Time.UTC()
		fields, err := json.Marshal(r.bounded())
		if err != nil {
			return nil, 0, fmt.Errorf("decrypt audit record of %s/%s: %w", r.Namespace, r.Name, err)
		}
		entries = append(entries, entry{kind: kindDecrypt, fields: fields})
	}
	return entries, denied, nil
}

// Head returns the last line that is as durable as Config.Fsync asks.
func (l *Log) Head() Head { return *l.durable.Load() }

// Close writes what is queued and the summaries of suppressed denials, publishes the head and releases the log. Record
// fails from then on. Only the first call does something.
func (l *Log) Close() (err error) {
	l.closing.Do(func() {
		l.queue.close()
		l.stop()
		l.done.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
		defer cancel()
		l.publishHead(ctx, l.Head())
		err = l.release()
	})
	return err
}

// release closes what Open opened, as far as it came.
func (l *Log) release() error {
	var err error
	if l.file != nil {
		err = l.file.close(l.config.Fsync != FsyncNever)
		l.file = nil
	}
	if l.lock != nil {
		err = errors.Join(err, l.lock.Close())
		l.lock = nil
	}
	if err != nil {
		return fmt.Errorf("closing the decrypt audit log: %w", err)
	}
	return nil
}

// loadKeys reads the key file, or makes it when it may and nothing was written under another one.
func (c Config) loadKeys() (*Keys, error) {
	if err := checkApart(c.KeyFile, c.dir()); err != nil {
		return nil, err
	}
	if _, err := os.Stat(c.KeyFile); !c.GenerateKey || !errors.Is(err, os.ErrNotExist) {
		return LoadKeys(c.KeyFile)
	}
	older, err := segments(c.Path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(c.Path); err == nil || len(older) > 0 {
		return nil, fmt.Errorf("the key %s of the decrypt audit log is gone but there is a log, %s: restore the key, or move all files of the log away", c.KeyFile, c.Path)
	}
	if err := generateKey(c.KeyFile); err != nil {
		return nil, err
	}
	klog.InfoS("Made a key for the decrypt audit log; keep a copy where the log is verified", "file", c.KeyFile)
	return LoadKeys(c.KeyFile)
}
