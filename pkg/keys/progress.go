// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"
	"io"
	"strings"

	"k8s.io/component-base/term"
)

// progressWidth is the number of characters of the bar, progressEvery how many records lie between two of its pictures.
const (
	progressWidth = 30
	progressEvery = 500
)

// progress draws a bar on a terminal. A nil one draws nothing.
type progress struct {
	out        io.Writer
	done, last int64
}

// newProgress returns nil when out is not a terminal.
func newProgress(out io.Writer) *progress {
	if _, _, err := term.TerminalSize(out); err != nil {
		return nil
	}
	return &progress{out: out}
}

func (p *progress) step(total int64) {
	if p == nil {
		return
	}
	p.done++
	if p.done%progressEvery == 0 || p.done == total {
		p.draw(total)
	}
}

func (p *progress) draw(total int64) {
	part := int(p.done * progressWidth / max(total, p.done))
	bar := strings.Repeat("=", part) + strings.Repeat(" ", progressWidth-part)
	_, _ = fmt.Fprintf(p.out, "\r[%s] %d of %d values", bar, p.done, total) // a picture, no result
	p.last = p.done
}

// end leaves the line to what comes next.
func (p *progress) end() {
	if p != nil && p.last > 0 {
		_, _ = fmt.Fprint(p.out, "\r\x1b[K")
	}
}
