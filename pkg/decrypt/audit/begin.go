// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
)

// begin sets aside what is at the path and begins a new file there, for the reason in l.next. It can be tried again.
func (l *Log) begin() error {
	if err := l.clear(); err != nil {
		return err
	}
	older, err := segments(l.config.Path)
	if err != nil {
		return err
	}
	first := l.head.Sequence + 1
	since := l.since
	if since == 0 {
		since = first
	}
	gone, since := l.config.expired(older, time.Now(), since, first)
	if l.file, err = createFile(l.config.Path); err != nil {
		return err
	}
	before := l.since
	l.since = since
	if err := l.announce(); err != nil {
		l.since = before
		err = errors.Join(err, l.file.close(false))
		l.file = nil
		return err
	}
	remove(gone)
	return nil
}

// clear makes room at the path. An empty file is none; anything else is kept as an older file.
func (l *Log) clear() error {
	info, err := os.Lstat(l.config.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().IsRegular() && info.Size() == 0:
		return os.Remove(l.config.Path)
	}
	return setAside(l.config.Path, l.firstLine())
}

// firstLine is the number of the first line of the file at the path, or the next one when it has no such line.
func (l *Log) firstLine() uint64 {
	f, err := openRegular(l.config.Path, os.O_RDONLY)
	if err != nil {
		return l.head.Sequence + 1
	}
	defer func() { _ = f.Close() }()
	raw, err := newLineReader(f).next()
	if err != nil {
		return l.head.Sequence + 1
	}
	first, err := parseLine(raw)
	if err != nil {
		return l.head.Sequence + 1
	}
	return first.sequence
}

// announce writes the opening in l.next, durably with its file's name, and makes started the reason of the next one.
func (l *Log) announce() error {
	o := l.next
	o.Time, o.Format, o.Chain, o.Instance = time.Now().UTC(), formatVersion, l.chain, l.config.Instance
	o.Key, o.Since = l.keys.current().id, l.since
	e, err := o.entry()
	if err != nil {
		return fmt.Errorf("decrypt audit log: %w", err)
	}
	if err := l.append([]entry{e}); err != nil {
		return err
	}
	if l.config.Fsync != FsyncNever {
		if err := errors.Join(l.file.sync(), atomicfile.SyncDir(l.config.dir())); err != nil {
			return err
		}
	}
	l.setDurable()
	l.next = opening{}
	openings.WithLabelValues(string(o.Reason)).Inc()
	klog.V(1).InfoS("Opened a file of the decrypt audit log", "path", l.config.Path, "reason", o.Reason, "head", l.head)
	return nil
}

// remove deletes expired files. The line that says so is already written; what cannot be deleted stays for the next time.
func remove(gone []segment) {
	for _, s := range gone {
		if err := os.Remove(s.path); err != nil {
			klog.ErrorS(err, "Could not remove an old file of the decrypt audit log", "path", s.path)
			continue
		}
		klog.InfoS("Removed an old file of the decrypt audit log", "path", s.path)
	}
}
