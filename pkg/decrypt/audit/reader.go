// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

var (
	// errTorn: the file ends without a line feed, or has no line at all.
	errTorn = errors.New("the last line is not complete")
	// errUnknownKey: the key file lacks the key that a file names.
	errUnknownKey = errors.New("unknown key")
)

// reader reads one file of the log in bounded memory. Start and verification share it.
type reader struct {
	path string
	f    *os.File
	size int64
}

func openReader(path string) (*reader, error) {
	f, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &reader{path: path, f: f, size: info.Size()}, nil
}

func (r *reader) close() { _ = r.f.Close() }

// lines yields every line after offset from, valid until the next one. A line that cannot be parsed or is not authentic
// under key (nil accepts any) has an error that wraps errLayout, an incomplete last one errTorn. An I/O error ends it.
func (r *reader) lines(from int64, key *key) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		in := bufio.NewReaderSize(io.NewSectionReader(r.f, from, r.size-from), maxLine)
		partial := from > 0 // the first line starts before from
		for number, end := 1, from; ; number++ {
			raw, length, err := readLine(in)
			if errors.Is(err, io.EOF) {
				return
			}
			end += length
			var l line
			if err == nil {
				l, err = parseLine(raw)
			}
			if err == nil && key != nil && !l.authentic(key) {
				err = errMAC
			}
			if err != nil && !errors.Is(err, errLayout) && !errors.Is(err, errTorn) {
				err = fmt.Errorf("reading %s: %w", r.path, err)
			}
			l.number, l.end = number, end
			if more := partial || yield(l, err); !more || err != nil && !errors.Is(err, errLayout) {
				return
			}
			partial = false
		}
	}
}

// readLine returns the next line without its line feed, and its length with it: io.EOF after the last one, errTorn for
// one without a line feed, errLayout for one that is too long.
func readLine(in *bufio.Reader) (raw []byte, length int64, err error) {
	raw, err = in.ReadSlice('\n')
	length = int64(len(raw))
	tooLong := errors.Is(err, bufio.ErrBufferFull)
	for errors.Is(err, bufio.ErrBufferFull) {
		raw, err = in.ReadSlice('\n')
		length += int64(len(raw))
	}
	switch {
	case errors.Is(err, io.EOF) && length > 0:
		return nil, 0, errTorn
	case err == nil && tooLong:
		err = errLayout
	}
	return bytes.TrimSuffix(raw, []byte("\n")), length, err
}

// opening reads the first line and checks it under the key that it names. The error is errTorn without a line.
func (r *reader) opening(keys *Keys) (line, opening, *key, error) {
	for first, err := range r.lines(0, nil) {
		if err != nil {
			return first, opening{}, nil, err
		}
		o, err := parseOpening(first)
		if err != nil {
			return first, opening{}, nil, err
		}
		key := keys.byID(o.Key)
		if key == nil {
			err = fmt.Errorf("%w %s: add it to %s as another line", errUnknownKey, o.Key, keys.path)
			return first, opening{}, nil, err
		}
		if !first.authentic(key) {
			return first, opening{}, nil, errMAC
		}
		return first, o, key, nil
	}
	return line{}, opening{}, nil, errTorn
}

// firstSequence returns the number of the first line, false without such a line.
func (r *reader) firstSequence() (uint64, bool) {
	for first, err := range r.lines(0, nil) {
		return first.sequence, err == nil
	}
	return 0, false
}

// source is one file to verify.
type source struct {
	path  string
	first uint64
	key   *key // nil without a complete line
}

// sortedFiles returns the files in the order of their first lines.
func (v Verification) sortedFiles(paths []string) ([]source, error) {
	expanded, err := expand(paths)
	if err != nil {
		return nil, err
	}
	files := make([]source, len(expanded))
	for i, path := range expanded {
		if files[i], err = v.openSource(path); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(files, func(a, b source) int { return cmp.Compare(a.first, b.first) })
	return files, nil
}

// expand replaces directories by the files in them, except for lock files and hidden ones.
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
	return slices.Compact(files), nil // the same file twice is not a fault of the log
}

// openSource reads the first line of a file. A file without a complete line sorts last.
func (v Verification) openSource(path string) (source, error) {
	in, err := openReader(path)
	if err != nil {
		return source{}, err
	}
	defer in.close()
	first, _, key, err := in.opening(v.Keys)
	fault := &Fault{File: path, Line: 1, Sequence: first.sequence, Advice: adviceKeep}
	switch {
	case err == nil:
		return source{path, first.sequence, key}, nil
	case errors.Is(err, errTorn):
		return source{path, math.MaxUint64, nil}, nil
	case errors.Is(err, errUnknownKey):
		fault.Problem, fault.Advice = err.Error(), "or give the key file that it was written under"
	case errors.Is(err, errFormat):
		fault.Problem = err.Error()
	case errors.Is(err, errLayout):
		fault.Problem = "the first line of a file must be an intact one of kind open: it was edited or removed, " +
			"or this is another file"
	default:
		return source{}, err
	}
	return source{}, fault
}
