// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// errUnknownKey says that a file names a key that the key file does not hold.
var errUnknownKey = errors.New("unknown key")

// remains is what a start finds in one file.
type remains struct {
	path string
	// exists is false for a file that is absent or has no complete line.
	exists bool
	// first and opening are its first line.
	first   uint64
	opening opening
	// last is the last line that is as it was written; damaged says that others follow it.
	last    Head
	damaged bool
	// size counts the bytes of complete lines, torn those behind them.
	size, torn int64
}

// inspect reads the two ends of a file, and all of it when its end is damaged.
func inspect(path string, keys *Keys) (remains, error) {
	found := remains{path: path}
	f, err := openRegular(path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, err
	}
	defer func() { _ = f.Close() }()
	err = found.read(f, keys)
	return found, err
}

func (r *remains) read(f *os.File, keys *Keys) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	raw, err := newLineReader(f).next()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, errTorn):
		r.torn = info.Size() // a file that was begun and no more
		return nil
	case err != nil && !errors.Is(err, errLayout):
		return fmt.Errorf("reading %s: %w", r.path, err)
	}
	r.exists = true
	first, o, key, err := readOpening(raw, keys)
	if errors.Is(err, errUnknownKey) {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	if err != nil {
		// Without its first line a file says neither its key nor its place; what is sound of the rest goes on.
		err = r.scan(f, 0, info.Size(), keys.current())
		r.damaged = true
		return err
	}
	r.first, r.opening = first.sequence, o
	return r.readEnd(f, info.Size(), key)
}

// readOpening takes the first line of a file apart and checks it under the key that it names.
func readOpening(raw []byte, keys *Keys) (line, opening, *key, error) {
	first, err := parseLine(raw)
	if err != nil {
		return line{}, opening{}, nil, err
	}
	o, err := parseOpening(first)
	if err != nil {
		return line{}, opening{}, nil, err
	}
	key := keys.byID(o.Key)
	if key == nil {
		return line{}, opening{}, nil, fmt.Errorf("%w %s: add it to %s as a further line", errUnknownKey, o.Key, keys.path)
	}
	if !first.sound(key) {
		return line{}, opening{}, nil, errLayout
	}
	return first, o, key, nil
}

// readEnd looks for the last line that is sound.
func (r *remains) readEnd(f *os.File, size int64, key *key) error {
	from := max(0, size-2*maxLine)
	err := r.scan(f, from, size, key)
	if err == nil && from > 0 && (r.damaged || r.last == Head{}) {
		r.last = Head{}
		err = r.scan(f, 0, size, key)
	}
	return err
}

// scan sets last, damaged, size and torn from the lines behind offset from.
func (r *remains) scan(f *os.File, from, size int64, key *key) error {
	in := newLineReader(io.NewSectionReader(f, from, size-from))
	if from > 0 {
		_, _ = in.next() // the rest of a line that begins before
	}
	r.damaged = false
	for {
		raw, err := in.next()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			r.size = from + in.offset
			r.torn = size - r.size
			return nil
		}
		if err != nil && !errors.Is(err, errLayout) {
			return fmt.Errorf("reading %s: %w", r.path, err)
		}
		l, err := parseLine(raw)
		if r.damaged = err != nil || !l.sound(key); !r.damaged {
			r.last = l.head()
		}
	}
}

// macOf returns the MAC of a line, false when the file has no sound line of that number.
func (r *remains) macOf(sequence uint64, keys *Keys) (mac MAC, found bool, err error) {
	f, err := openRegular(r.path, os.O_RDONLY)
	if err != nil {
		return MAC{}, false, err
	}
	defer func() { _ = f.Close() }()
	key := keys.byID(r.opening.Key)
	for in := newLineReader(f); ; {
		raw, err := in.next()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			return MAC{}, false, nil
		}
		if err != nil && !errors.Is(err, errLayout) {
			return MAC{}, false, fmt.Errorf("reading %s: %w", r.path, err)
		}
		if l, err := parseLine(raw); err == nil && l.sequence == sequence && key != nil && l.sound(key) {
			return l.mac, true, nil
		}
	}
}
