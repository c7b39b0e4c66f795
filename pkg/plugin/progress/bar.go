// SPDX-License-Identifier: Apache-2.0

// Package progress draws a bar on a terminal, and nothing anywhere else. It must never write to what may be read by a program.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	width = 30
	// pause is the least time between two pictures.
	pause = 100 * time.Millisecond
)

// Bar is a bar. A nil one draws nothing.
type Bar struct {
	out  io.Writer
	what string
	last time.Time
}

// New returns a bar that counts what it is about, or nil when out is no terminal.
func New(out io.Writer, what string) *Bar {
	if f, ok := out.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &Bar{out: out, what: what}
}

// Set shows how much is done. Pictures that come too fast are left out, but for the last.
func (b *Bar) Set(done, total int64) {
	if b == nil || (time.Since(b.last) < pause && done < total) {
		return
	}
	b.last = time.Now()
	part := int(done * width / max(total, done, 1))
	bar := strings.Repeat("=", part) + strings.Repeat(" ", width-part)
	_, _ = fmt.Fprintf(b.out, "\r[%s] %d of %d %s\x1b[K", bar, done, total, b.what) // a picture, no result
}

// End leaves the line to what comes next.
func (b *Bar) End() {
	if b != nil && !b.last.IsZero() {
		_, _ = fmt.Fprint(b.out, "\r\x1b[K") // a picture, no result
	}
}
