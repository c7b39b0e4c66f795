// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// order returns the files that paths name, a folder standing for what is in it, in the order of their first lines.
func (v Verification) order(paths []string) ([]string, error) {
	files, err := expand(paths)
	if err != nil {
		return nil, err
	}
	firsts := map[string]uint64{}
	for _, path := range files {
		if firsts[path], err = v.firstLine(path); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(files, func(a, b string) int { return cmp.Compare(firsts[a], firsts[b]) })
	return files, nil
}

// expand replaces folders by the files in them, but for those of the lock and hidden ones.
func expand(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, filepath.Clean(path))
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Type().IsRegular() && !strings.HasSuffix(e.Name(), lockSuffix) && !strings.HasPrefix(e.Name(), ".") {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil // naming a file twice is no fault of the log
}

// firstLine is the number of a file's first line. One that was begun and no more comes last.
func (v Verification) firstLine(path string) (uint64, error) {
	f, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	raw, err := newLineReader(f).next()
	if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
		return math.MaxUint64, nil
	}
	if err != nil && !errors.Is(err, errLayout) {
		return 0, fmt.Errorf("reading %s: %w", path, err)
	}
	first, _, _, err := readOpening(raw, v.Keys)
	if err != nil {
		return 0, openingFault(path, raw, err)
	}
	return first.sequence, nil
}

// openingFault explains why the first line of a file is not one.
func openingFault(path string, raw []byte, err error) error {
	fault := &Fault{File: path, Line: 1, Problem: err.Error(), Advice: adviceKeep}
	if l, err := parseLine(raw); err == nil {
		fault.Sequence = l.sequence
	}
	switch {
	case errors.Is(err, errUnknownKey):
		fault.Advice = "or name the key file that it was written under"
	case errors.Is(err, errLayout):
		fault.Problem = "the first line of a file must be a sound one of kind open: it was edited or removed, or this is another file"
	}
	return fault
}
