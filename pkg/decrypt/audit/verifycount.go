// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"slices"
	"time"
)

// content is what verification reads of a line's fields.
type content struct {
	Time       time.Time  `json:"time"`
	Decision   Decision   `json:"decision"`
	Suppressed int64      `json:"suppressed"`
	Chain      string     `json:"chain"`
	Instance   string     `json:"instance"`
	Opened     openReason `json:"reason"`
	Since      uint64     `json:"since"`
	Missing    *span      `json:"missing"`
}

// count adds a line to the report.
func (v *verifying) count(l *line, c *content) {
	r := &v.report
	if r.Lines == 0 {
		r.FirstLine, r.FirstTime = l.sequence, c.Time
	}
	r.Lines++
	r.Head, r.LastTime = l.head(), c.Time
	switch {
	case l.kind == kindOpen:
		r.Chain, r.Instance = c.Chain, c.Instance
	case l.kind == kindSuppressed:
		r.Suppressed += c.Suppressed
	case c.Decision == Allow:
		r.Allowed++
	case c.Decision == Deny:
		r.Denied++
	}
}

// witness compares a line with the heads that were published of it.
func (v *verifying) witness(head Head) error {
	for _, w := range v.pending[head.Sequence] {
		if !w.matches(head) {
			return v.fault(head.Sequence, fmt.Sprintf("the published head is %s, the line here is %s: the log was written anew", w, head), adviceKeep)
		}
	}
	delete(v.pending, head.Sequence)
	return nil
}

// finish checks what only shows at the end: that nothing is missing in front and behind.
func (v *verifying) finish(files []string) error {
	r := &v.report
	if r.Lines == 0 {
		return fmt.Errorf("there is no line of a decrypt audit log in %v", files)
	}
	v.where = Fault{File: files[0]}
	if r.FirstLine > v.since && !v.Part {
		return v.fault(v.since, fmt.Sprintf("%v missing before the first one: by its own account the server has not removed them", span{v.since, r.FirstLine - 1}),
			adviceFiles+", or add --part if this is only a part of the log; else "+adviceKeep)
	}
	for _, w := range slices.Backward(v.Heads) {
		if len(v.pending[w.Sequence]) == 0 {
			continue
		}
		switch {
		case w.Sequence > r.Head.Sequence:
			v.where = Fault{File: files[len(files)-1]}
			return v.fault(r.Head.Sequence+1, fmt.Sprintf("the log ends with line %d, but line %d was published: it was cut off", r.Head.Sequence, w.Sequence),
				adviceFiles+"; else "+adviceKeep)
		case w.Sequence >= r.FirstLine || !v.Part:
			return v.fault(w.Sequence, fmt.Sprintf("the line of the published head %s is not in the files", w), adviceFiles)
		}
	}
	return nil
}
