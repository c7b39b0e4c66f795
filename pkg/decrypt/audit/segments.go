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
)

// Older files are named after their first line, so that their names sort as their lines do: decrypt.log becomes
// decrypt-00000000000000000001.log. A second one of that number gets a further suffix: decrypt-….2.log.
const sequenceDigits = 20

// segment is an older file.
type segment struct {
	path  string
	first uint64
	time  time.Time
}

func splitPath(path string) (prefix, extension string) {
	extension = filepath.Ext(path)
	return strings.TrimSuffix(path, extension) + "-", extension
}

// segments lists the older files of a log, oldest first.
func segments(path string) ([]segment, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("listing the files of the decrypt audit log: %w", err)
	}
	prefix, extension := splitPath(path)
	var found []segment
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
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("listing the files of the decrypt audit log: %w", err)
		}
		found = append(found, segment{path: name, first: first, time: info.ModTime()})
	}
	slices.SortStableFunc(found, func(a, b segment) int {
		return cmp.Or(cmp.Compare(a.first, b.first), a.time.Compare(b.time))
	})
	return found, nil
}

// setAside gives whatever is at path the name of an older file that begins with line first.
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
	return fmt.Errorf("cannot set %s aside: there are too many files named %s: move them away", path, name)
}

// expired picks the older files that the rules for number and age let go, and the first line that stays: next is the
// first line of the file that is about to begin.
func (c Config) expired(all []segment, now time.Time, since, next uint64) (gone []segment, _ uint64) {
	for i, s := range all {
		tooMany := c.MaxBackups > 0 && len(all)-i > c.MaxBackups
		tooOld := c.MaxAge > 0 && now.Sub(s.time) > c.MaxAge
		if !tooMany && !tooOld {
			break // what is younger stays too: no holes
		}
		gone = append(gone, s)
		since = next
		if i+1 < len(all) {
			since = all[i+1].first
		}
	}
	return gone, since
}
