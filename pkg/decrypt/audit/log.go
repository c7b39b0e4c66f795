// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
)

// Errors of Record, besides those of the disk.
var (
	// ErrClosed: the log is closed.
	ErrClosed = errors.New("the decrypt audit log is closed")
	// ErrBusy: too many records wait to be written.
	ErrBusy = errors.New("the decrypt audit log cannot keep up")
)

// lockSuffix names the lock file of a log. It stays when the server ends, and means nothing then.
const lockSuffix = ".lock"

// Log is an open decrypt audit log. One goroutine writes; Record queues entries for it and waits.
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

	// The fields below belong to the writer.
	file  *file // nil: rotate starts one, for the reason in next
	next  opening
	head  Head
	chain string
	since uint64
	buf   []byte
	// published is the head that this run loaded or published last. It belongs to the publisher.
	published Head
	// written is a hook for tests between a write and the check after it.
	written func()
}

var _ Recorder = (*Log)(nil)

// Open resumes the log at config.Path or creates one. It compares what it finds with the published head, and logs and
// records a difference. The caller must Close the log.
func Open(ctx context.Context, config Config) (*Log, error) {
	registerMetrics()
	config.Path = filepath.Clean(config.Path)
	if err := os.MkdirAll(config.dir(), 0o700); err != nil {
		return nil, fmt.Errorf("creating the directory of the decrypt audit log: %w", err)
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

// entries encodes records, without those over the limit of their caller.
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
		kind := kindDecrypt
		if r.Watch {
			kind = kindWatch
		}
		e, err := newEntry(kind, r.bounded())
		if err != nil {
			return nil, 0, err
		}
		entries = append(entries, e)
	}
	return entries, denied, nil
}

// Head returns the last line that is as durable as Config.Fsync requires.
func (l *Log) Head() Head { return *l.durable.Load() }

// Close writes what is queued and the summaries of suppressed denials, publishes the head and releases the log. Record
// fails from then on. Later calls do nothing.
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

// release closes what Open has opened so far.
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

const (
	// maxGroup bounds the lines of one write, and so how long its callers wait for each other.
	maxGroup = 8192
	// maxQueued bounds the lines that wait: callers that gave up leave theirs in the queue while the disk hangs.
	maxQueued = 65536
)

// request is what one call of Record waits for.
type request struct {
	entries []entry
	done    chan error // buffered: the writer never waits for a caller
}

// queue passes requests to the writer. What queues up during one write goes out with the next: the slower the disk, the
// larger the groups.
type queue struct {
	// wake has an element when there may be requests.
	wake chan struct{}

	mu       sync.Mutex
	requests []*request
	lines    int
	closed   bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// submit waits until the writer has processed entries.
func (q *queue) submit(ctx context.Context, entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	r := &request{entries: entries, done: make(chan error, 1)}
	if err := q.put(r); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *queue) put(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if q.lines > 0 && q.lines+len(r.entries) > maxQueued {
		return ErrBusy
	}
	q.requests = append(q.requests, r)
	q.lines += len(r.entries)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// take returns the oldest requests, up to maxGroup lines.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, n := 0, 0
	for n < len(q.requests) && (n == 0 || lines+len(q.requests[n].entries) <= maxGroup) {
		lines += len(q.requests[n].entries)
		n++
	}
	group := q.requests[:n:n]
	q.requests = q.requests[n:]
	if len(q.requests) == 0 {
		q.requests = nil
	}
	q.lines -= lines
	return group
}

// close makes submit fail; what is queued stays.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}
