// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
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
