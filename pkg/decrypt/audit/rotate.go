// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
)

// Older files are named after their first line, so that their names sort as their lines do: decrypt.log becomes
// decrypt-00000000000000000001.log. A second one of that number gets another suffix: decrypt-….2.log.
const sequenceDigits = 20

// olderFile is a file that was rotated away.
type olderFile struct {
	path  string
	first uint64
	time  time.Time
}

func splitPath(path string) (prefix, extension string) {
	extension = filepath.Ext(path)
	return strings.TrimSuffix(path, extension) + "-", extension
}

// olderFiles lists the older files of a log, oldest first.
func olderFiles(path string) ([]olderFile, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("listing the files of the decrypt audit log: %w", err)
	}
	prefix, extension := splitPath(path)
	var found []olderFile
	for _, entry := range entries {
		name := filepath.Join(filepath.Dir(path), entry.Name())
		rest, ours := strings.CutPrefix(name, prefix)
		if !ours || !strings.HasSuffix(rest, extension) || len(rest) < sequenceDigits || !entry.Type().IsRegular() {
			continue
		}
		first, err := strconv.ParseUint(rest[:sequenceDigits], 10, 64)
		if err != nil {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, fmt.Errorf("listing the files of the decrypt audit log: %w", err)
		}
		found = append(found, olderFile{path: name, first: first, time: info.ModTime()})
	}
	slices.SortStableFunc(found, func(a, b olderFile) int {
		return cmp.Or(cmp.Compare(a.first, b.first), a.time.Compare(b.time))
	})
	return found, nil
}

// setAside renames what is at path to an older file that starts with line first.
func setAside(path string, first uint64) error {
	prefix, extension := splitPath(path)
	name := fmt.Sprintf("%s%0*d", prefix, sequenceDigits, first)
	for i := 1; i < 1000; i++ {
		target := name + extension
		if i > 1 {
			target = fmt.Sprintf("%s.%d%s", name, i, extension)
		}
		if _, err := os.Lstat(target); errors.Is(err, fs.ErrNotExist) {
			return os.Rename(path, target)
		}
	}
	return fmt.Errorf("cannot rename %s: too many files named %s; move them away", path, name)
}

// expired returns the older files to delete by number and age, and the first line that stays: next is the first line of
// the file that is about to start.
func (c Config) expired(all []olderFile, now time.Time, since, next uint64) (gone []olderFile, _ uint64) {
	for i, s := range all {
		tooMany := c.MaxBackups > 0 && len(all)-i > c.MaxBackups
		tooOld := c.MaxAge > 0 && now.Sub(s.time) > c.MaxAge
		if !tooMany && !tooOld {
			break // newer ones stay too: no gaps
		}
		gone = append(gone, s)
		since = next
		if i+1 < len(all) {
			since = all[i+1].first
		}
	}
	return gone, since
}

// rotate sets aside what is at the path and starts a file there, for the reason in l.next. It can be retried.
func (l *Log) rotate() error {
	if err := l.setAsideActive(); err != nil {
		return err
	}
	older, err := olderFiles(l.config.Path)
	if err != nil {
		return err
	}
	first, before := l.head.Sequence+1, l.since
	gone, since := l.config.expired(older, time.Now(), cmp.Or(before, first), first)
	if l.file, err = createFile(l.config.Path); err != nil {
		return err
	}
	l.since = since
	if err := l.writeOpening(); err != nil {
		l.since = before
		err = errors.Join(err, l.file.close(false))
		l.file = nil
		return err
	}
	// The line that records the removal is written. A file that cannot be removed stays until the next rotation.
	for _, s := range gone {
		if err := os.Remove(s.path); err != nil {
			klog.ErrorS(err, "Could not remove an old file of the decrypt audit log", "path", s.path)
			continue
		}
		klog.InfoS("Removed an old file of the decrypt audit log", "path", s.path)
	}
	return nil
}

// setAsideActive frees the path. An empty file is removed; anything else is kept as an older file.
func (l *Log) setAsideActive() error {
	info, err := os.Lstat(l.config.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().IsRegular() && info.Size() == 0:
		return os.Remove(l.config.Path)
	}
	first := l.head.Sequence + 1 // of a file without a first line
	if in, err := openReader(l.config.Path); err == nil {
		if sequence, ok := in.firstSequence(); ok {
			first = sequence
		}
		in.close()
	}
	return setAside(l.config.Path, first)
}

// writeOpening writes the opening in l.next, durably with its file's name, and resets l.next.
func (l *Log) writeOpening() error {
	o := l.next
	o.Time, o.Format, o.Chain, o.Instance = time.Now().UTC(), formatVersion, l.chain, l.config.Instance
	o.Key, o.Since = l.keys.current().id, l.since
	e, err := newEntry(kindOpen, o)
	if err != nil {
		return err
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
