// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progressPeriod is how often a long stage says how far it is.
const progressPeriod = 2 * time.Second

// progress prints how far a stage is and when it will be done at the rate so far.
type progress struct {
	log     io.Writer
	what    string
	total   int64
	started time.Time

	mutex sync.Mutex
	said  time.Time
}

func newProgress(log io.Writer, what string, total int64) *progress {
	now := time.Now()
	return &progress{log: log, what: what, total: total, started: now, said: now}
}

// set may be called from many goroutines and as often as one likes.
func (p *progress) set(done int64) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if now := time.Now(); now.Sub(p.said) >= progressPeriod {
		p.said = now
		_, _ = fmt.Fprintln(p.log, "        ", p.line(done, now.Sub(p.started)))
	}
}

// end says that all is done.
func (p *progress) end() {
	_, _ = fmt.Fprintln(p.log, "        ", p.line(p.total, time.Since(p.started)))
}

func (p *progress) line(done int64, elapsed time.Duration) string {
	rate := float64(done) / elapsed.Seconds()
	line := fmt.Sprintf("%d of %d %s (%.0f %%), %.0f/s", done, p.total, p.what, 100*float64(done)/float64(p.total), rate)
	if done >= p.total {
		return line + ", took " + elapsed.Round(time.Second).String()
	}
	if done == 0 {
		return line
	}
	left := time.Duration(float64(p.total-done) / rate * float64(time.Second))
	return line + ", done in " + left.Round(time.Second).String()
}
