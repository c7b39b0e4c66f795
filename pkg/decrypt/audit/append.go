// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/klog/v2"
)

// syncInterval is that of FsyncInterval.
const syncInterval = time.Second

// maxAttempts bounds how often a group is written again because its file was replaced during the write.
const maxAttempts = 3

// write is the writer. It ends with ctx, after everything queued is written.
func (l *Log) write(ctx context.Context) {
	summaries := time.NewTicker(l.config.SummaryInterval)
	defer summaries.Stop()
	syncs := time.NewTicker(syncInterval)
	defer syncs.Stop()
	for {
		select {
		case <-l.queue.wake:
			l.drain()
		case <-summaries.C:
			l.writeSummaries()
		case <-syncs.C:
			l.syncNow()
		case <-ctx.Done():
			l.drain()
			l.writeSummaries()
			l.syncNow()
			return
		}
	}
}

// drain writes everything queued.
func (l *Log) drain() {
	for group := l.queue.take(); len(group) > 0; group = l.queue.take() {
		var entries []entry
		for _, r := range group {
			entries = append(entries, r.entries...)
		}
		err := l.commit(entries)
		for _, r := range group {
			r.done <- err
		}
	}
}

// writeSummaries writes how many denials of which callers were suppressed. What cannot be written is kept for the next
// time.
func (l *Log) writeSummaries() {
	summaries := l.limiter.take(time.Now())
	if len(summaries) == 0 {
		return
	}
	var err error
	entries := make([]entry, len(summaries))
	for i := range summaries {
		if entries[i], err = newEntry(kindSuppressed, summaries[i]); err != nil {
			break
		}
	}
	if err == nil {
		err = l.commit(entries)
	}
	if err != nil {
		klog.ErrorS(err, "Could not write the summary of suppressed denials; will retry", "path", l.config.Path)
		l.limiter.putBack(summaries)
	}
}

// syncNow is the periodic fsync of FsyncInterval.
func (l *Log) syncNow() {
	if l.config.Fsync != FsyncInterval || l.file == nil || !l.file.unsynced {
		return
	}
	if err := l.file.sync(); err != nil {
		writeErrors.Inc()
		klog.ErrorS(err, "Could not sync the decrypt audit log", "path", l.config.Path)
		return
	}
	l.setDurable()
}

// commit writes entries as one unit. When it returns nil they are in a file that was at Config.Path after the write.
func (l *Log) commit(entries []entry) error {
	started := time.Now()
	if err := l.tryCommit(entries); err != nil {
		writeErrors.Inc()
		return fmt.Errorf("writing %s: %w", l.config.Path, err)
	}
	groupSize.Observe(float64(len(entries)))
	commitSeconds.Observe(time.Since(started).Seconds())
	return nil
}

func (l *Log) tryCommit(entries []entry) error {
	for range maxAttempts {
		if err := l.prepare(entries); err != nil {
			return err
		}
		if err := l.append(entries); err != nil {
			return err
		}
		if l.written != nil {
			l.written()
		}
		if l.intact() {
			return nil
		}
	}
	return errors.New("the log file keeps being replaced; make sure nothing else modifies it")
}

// append writes entries to the file and moves the head to the last of them.
func (l *Log) append(entries []entry) error {
	head := l.head
	l.buf = l.buf[:0]
	for _, e := range entries {
		l.buf = appendLine(l.buf, l.keys.current(), &head, e)
	}
	if err := l.file.append(l.buf, len(entries), l.config.Fsync == FsyncAlways); err != nil {
		return err
	}
	l.head = head
	if l.config.Fsync != FsyncInterval {
		l.setDurable()
	}
	return nil
}

func (l *Log) setDurable() {
	head := l.head
	l.durable.Store(&head)
	headMetric.head.Store(&head)
}

// intact checks whether something else touched the file. If so, the chain continues in the next one.
func (l *Log) intact() bool {
	err := l.file.check()
	if err == nil {
		return true
	}
	klog.ErrorS(err, "Something else touched the decrypt audit log; continuing in a new file", "path", l.config.Path)
	l.closeFile(openReplaced)
	return false
}

// closeFile closes the file; prepare starts another for reason.
func (l *Log) closeFile(reason openReason) {
	if err := l.file.close(l.config.Fsync != FsyncNever); err != nil {
		klog.ErrorS(err, "Could not close a file of the decrypt audit log", "path", l.config.Path)
	}
	l.file, l.next = nil, opening{Reason: reason}
}

// prepare makes sure that there is a file to write entries to.
func (l *Log) prepare(entries []entry) error {
	if l.file == nil || !l.intact() {
		return l.rotate()
	}
	if l.file.broken {
		return l.file.truncate()
	}
	size := l.file.size
	for _, e := range entries {
		size += int64(len(e.fields)) + 2*int64(macDigits)
	}
	if size <= l.config.MaxSize || l.file.lines <= 1 {
		return nil
	}
	_ = l.file.f.Truncate(l.file.size) // frees what allocateAhead reserved
	l.closeFile(openRotated)
	return l.rotate()
}
