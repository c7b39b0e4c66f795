// SPDX-License-Identifier: Apache-2.0

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
	// every is the redraw interval.
	every = 100 * time.Millisecond
)

// Bar is a progress bar on a terminal. A nil one draws nothing.
type Bar struct {
	out   io.Writer
	label func(done, total int64) string
	done  int64
	drawn time.Time
}

// New returns nil when out is not a terminal. label formats the progress; total is 0 when it is unknown.
func New(out io.Writer, label func(done, total int64) string) *Bar {
	if _, _, err := term.TerminalSize(out); err != nil {
		return nil
	}
	return &Bar{out: out, label: label}
}

// Count returns the label of a number of things.
func Count(things string) func(done, total int64) string {
	return func(done, total int64) string { return fmt.Sprintf("%d of %d %s", done, total, things) }
}

// Values labels a number of values.
func Values(done, total int64) string { return Count("values")(done, total) }

// Bytes labels a number of bytes.
func Bytes(done, total int64) string {
	if total == 0 {
		return Size(done)
	}
	return Size(done) + " of " + Size(total)
}

// Size formats a number of bytes.
func Size(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }

// NumberOfValues formats a number of values.
func NumberOfValues(n int64) string {
	return fmt.Sprintf("%d %s", n, english.PluralWord(int(n), "value", ""))
}

// Add reports that n more of total are done. total is 0 when it is unknown.
func (b *Bar) Add(n, total int64) {
	if b != nil {
		b.Set(b.done+n, total)
	}
}

// Set reports how much of total is done. It redraws at most once per interval, and at the end.
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
	_, _ = fmt.Fprint(b.out, "\r"+picture+b.label(b.done, total)+"\x1b[K") // decoration only
}

// End clears the line.
func (b *Bar) End() {
	if b != nil && !b.drawn.IsZero() {
		_, _ = fmt.Fprint(b.out, "\r\x1b[K")
	}
}

// NumberOfSealed formats a number of values, and one of sealing keys if there are any.
func NumberOfSealed(values, sealingKeys int64) string {
	text := NumberOfValues(values)
	if sealingKeys > 0 {
		text += fmt.Sprintf(" and %d %s", sealingKeys, english.PluralWord(int(sealingKeys), "sealing key", ""))
	}
	return text
}
