// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// errTorn says that the last line has no line feed.
var errTorn = errors.New("the last line is not complete")

// lineReader reads lines of bounded length in bounded memory.
type lineReader struct {
	in     *bufio.Reader
	number int   // of the line that next returned, from 1
	offset int64 // behind that line
}

func newLineReader(in io.Reader) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, maxLine)}
}

// next returns the next line without its line feed, valid until the next call; io.EOF after the last one, errTorn for one
// without a line feed at the end, errLayout for one that is too long.
func (r *lineReader) next() ([]byte, error) {
	raw, err := r.in.ReadSlice('\n')
	if errors.Is(err, io.EOF) && len(raw) == 0 {
		return nil, io.EOF
	}
	r.number++
	length := int64(len(raw))
	tooLong := errors.Is(err, bufio.ErrBufferFull)
	for errors.Is(err, bufio.ErrBufferFull) {
		raw, err = r.in.ReadSlice('\n')
		length += int64(len(raw))
	}
	if errors.Is(err, io.EOF) {
		return nil, errTorn
	}
	if err != nil {
		return nil, err
	}
	r.offset += length
	if tooLong {
		return nil, errLayout
	}
	return bytes.TrimSuffix(raw, []byte("\n")), nil
}
