// SPDX-License-Identifier: Apache-2.0

// Package cli draws a bar on a terminal while a command works through something long. It must never write to what is
// not a terminal.
package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"k8s.io/component-base/term"
)

const (
	// width is the number of characters of the bar.
	width = 30
	// every is how much time lies between two of its pictures.
	every = 100 * time.Millisecond
)

// Bar is a bar on a terminal. A nil one draws nothing.
type Bar struct {
	out   io.Writer
	label func(done, total int64) string
	done  int64
	drawn time.Time
}

// New returns nil when out is not a terminal. label says what was done, and of how much when total is not 0.
func New(out io.Writer, label func(done, total int64) string) *Bar {
	if _, _, err := term.TerminalSize(out); err != nil {
		return nil
	}
	return &Bar{out: out, label: label}
}

// Count labels a number of things, which have a name.
func Count(things string) func(done, total int64) string {
	return func(done, total int64) string { return fmt.Sprintf("%d of %d %s", done, total, things) }
}

// Values labels a count of values.
func Values(done, total int64) string { return Count("values")(done, total) }

// Bytes labels a number of bytes.
func Bytes(done, total int64) string {
	if total == 0 {
		return Size(done)
	}
	return Size(done) + " of " + Size(total)
}

// Size is a number of bytes for people.
func Size(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }

// NumberOfValues is a number of values for people.
func NumberOfValues(n int64) string {
	return fmt.Sprintf("%d %s", n, english.PluralWord(int(n), "value", ""))
}

// Add says that n more of total is done. total is 0 when it is not known.
func (b *Bar) Add(n, total int64) {
	if b != nil {
		b.Set(b.done+n, total)
	}
}

// Set says how much of total is done. Pictures that come too fast are left out, but for the last.
func (b *Bar) Set(done, total int64) {
	if b == nil {
		return
	}
	b.done = done
	if now := time.Now(); now.Sub(b.drawn) >= every || done == total {
		b.draw(total)
		b.drawn = now
	}
}

func (b *Bar) draw(total int64) {
	picture := ""
	if total > 0 {
		part := int(b.done * width / max(total, b.done))
		picture = "[" + strings.Repeat("=", part) + strings.Repeat(" ", width-part) + "] "
	}
	_, _ = fmt.Fprint(b.out, "\r"+picture+b.label(b.done, total)+"\x1b[K") // a picture, no result
}

// End leaves the line to what comes next.
func (b *Bar) End() {
	if b != nil && !b.drawn.IsZero() {
		_, _ = fmt.Fprint(b.out, "\r\x1b[K")
	}
}
