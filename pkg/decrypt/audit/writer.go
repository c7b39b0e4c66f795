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

// maxAttempts bounds how often a group is written again because its file was taken away meanwhile.
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
			l.summarise()
		case <-syncs.C:
			l.syncNow()
		case <-ctx.Done():
			l.drain()
			l.summarise()
			l.syncNow()
			return
		}
	}
}

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

// summarise writes how many denials of whom were suppressed. What cannot be written is kept for the next time.
func (l *Log) summarise() {
	summaries := l.limiter.take(time.Now())
	if len(summaries) == 0 {
		return
	}
	if err := l.commitSummaries(summaries); err != nil {
		klog.ErrorS(err, "Could not write the summary of suppressed denials; trying again", "path", l.config.Path)
		l.limiter.putBack(summaries)
	}
}

func (l *Log) commitSummaries(summaries []*summary) error {
	entries := make([]entry, 0, len(summaries))
	for _, s := range summaries {
		e, err := s.entry()
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	return l.commit(entries)
}

// syncNow is the work of FsyncInterval.
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

// commit writes entries as one piece. When it returns nil they are in a file that is at Config.Path, or was when the
// disk had them.
func (l *Log) commit(entries []entry) error {
	begin := time.Now()
	err := l.tryCommit(entries)
	if err != nil {
		writeErrors.Inc()
		return fmt.Errorf("writing %s: %w", l.config.Path, err)
	}
	groupSize.Observe(float64(len(entries)))
	commitSeconds.Observe(time.Since(begin).Seconds())
	return nil
}

func (l *Log) tryCommit(entries []entry) error {
	for range maxAttempts {
		if err := l.ready(entries); err != nil {
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
	return errors.New("the file is taken away again and again: let nothing but the server touch it")
}

// append writes entries to the file and moves the head on to the last of them.
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
	headMetric.set(head)
}

// intact notices that somebody else touched the file. The next one then carries the chain on.
func (l *Log) intact() bool {
	err := l.file.check()
	if err == nil {
		return true
	}
	klog.ErrorS(err, "The decrypt audit log was touched by somebody else; going on in a new file", "path", l.config.Path)
	l.leave(openReplaced)
	return false
}

// leave gives up the file; ready begins another.
func (l *Log) leave(reason openReason) {
	if err := l.file.close(l.config.Fsync != FsyncNever); err != nil {
		klog.ErrorS(err, "Could not close a file of the decrypt audit log", "path", l.config.Path)
	}
	l.file, l.next = nil, opening{Reason: reason}
}

// ready makes sure that there is a file to write entries to.
func (l *Log) ready(entries []entry) error {
	if l.file == nil || !l.intact() {
		return l.begin()
	}
	if l.file.broken {
		return l.file.restore()
	}
	size := l.file.size
	for _, e := range entries {
		size += int64(len(e.fields)) + 2*int64(macDigits)
	}
	if size <= l.config.MaxSize || l.file.lines <= 1 {
		return nil
	}
	l.file.giveBack()
	l.leave(openRotated)
	return l.begin()
}
