// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Verification configures what a log is checked against.
type Verification struct {
	// Keys are those that the log was written under.
	Keys *Keys
	// Heads are published heads: the log must have their lines.
	Heads []Witness
	// Part allows older lines to be missing, because only a part of the log is given.
	Part bool
	// Known are the numbers of opening lines with a known fault (cut-off, rewritten, damaged).
	Known map[uint64]bool
}

// Report describes an intact log.
type Report struct {
	Files, Lines        int
	Allowed, Denied     int64
	Suppressed          int64
	FirstLine           uint64
	Head                Head
	Instance, Chain     string
	FirstTime, LastTime time.Time
}

// Fault is the first fault of a log.
type Fault struct {
	// File and Line are the place, Line from 1. Line is 0 for a fault of the log as a whole.
	File string
	Line int
	// Sequence is the number of the line that is bad, missing, or in the place of another.
	Sequence uint64
	// Problem is what is wrong, Advice what to do.
	Problem, Advice string
}

// Error implements error.
func (f *Fault) Error() string {
	where := f.File
	if f.Line > 0 {
		where = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return fmt.Sprintf("%s: sequence %d: %s; %s", where, f.Sequence, f.Problem, f.Advice)
}

const (
	adviceKeep  = "keep all files as they are for an investigation, and compare with a copy that was shipped elsewhere"
	adviceFiles = "give the missing file too (the log directory will do)"
	adviceTorn  = "if a server writes this file now, retry; if one was killed, its next start repairs this; " +
		"otherwise the file was cut: " + adviceKeep
)

// Verify checks the chain over all lines of the files, in any order; a directory stands for the files in it. A *Fault
// is the first bad line.
func (v Verification) Verify(paths []string) (Report, error) {
	files, err := v.sortedFiles(paths)
	if err != nil {
		return Report{}, err
	}
	run := &verifying{Verification: v, pending: map[uint64][]Witness{}}
	for _, witness := range v.Heads {
		run.pending[witness.Sequence] = append(run.pending[witness.Sequence], witness)
	}
	for _, file := range files {
		if err := run.file(file); err != nil {
			return run.report, err
		}
	}
	return run.report, run.finish(files)
}

// verifying is one run over the files.
type verifying struct {
	Verification
	report  Report
	since   uint64 // from the newest opening
	pending map[uint64][]Witness
	where   Fault // current file and line
}

func (v *verifying) fault(sequence uint64, problem, advice string) error {
	f := v.where
	f.Sequence, f.Problem, f.Advice = sequence, problem, advice
	return &f
}

func (v *verifying) file(file source) error {
	in, err := openReader(file.path)
	if err != nil {
		return err
	}
	defer in.close()
	v.report.Files++
	v.where = Fault{File: file.path}
	for l, err := range in.lines(0, file.key) {
		v.where.Line = l.number
		switch next := v.report.Head.Sequence + 1; {
		case errors.Is(err, errTorn), file.key == nil: // without a key nothing is checked
			return v.fault(next, errTorn.Error(), adviceTorn)
		case errors.Is(err, errMAC):
			return v.fault(l.sequence, "the MAC does not match the line: it was edited", adviceKeep)
		case errors.Is(err, errLayout):
			return v.fault(next, errLayout.Error()+": it was edited", adviceKeep)
		case err != nil:
			return err
		}
		if err := v.line(&l); err != nil {
			return err
		}
	}
	return nil
}

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

func (v *verifying) line(l *line) error {
	var c content
	if err := json.Unmarshal(l.raw, &c); err != nil {
		return v.fault(l.sequence, "the line is not JSON although its MAC matches", "report this bug")
	}
	if l.kind == kindOpen {
		v.since = c.Since
		if err := v.opening(l, &c); err != nil {
			return err
		}
	}
	if err := v.place(l, &c); err != nil {
		return err
	}
	v.count(l, &c)
	for _, w := range v.pending[l.sequence] {
		if !w.matches(l.head()) {
			return v.fault(l.sequence, fmt.Sprintf("the published head is %s, the line here is %s: "+
				"the log was rewritten", w, l.head()), adviceKeep)
		}
	}
	delete(v.pending, l.sequence)
	return nil
}

// opening returns what the server itself found wrong when it wrote this line.
func (v *verifying) opening(l *line, c *content) error {
	var problem string
	switch {
	case v.Known[l.sequence]:
		return nil
	case c.Opened == openCutOff && c.Missing != nil:
		problem = fmt.Sprintf("the server found at its start that %v had been published and were missing", c.Missing)
	case c.Opened == openRewritten:
		problem = "the server found at its start that the log no longer held the line it had published"
	case c.Opened == openDamaged:
		problem = "the server found at its start that it had not written the last line"
	default:
		return nil
	}
	return v.fault(l.sequence, problem,
		fmt.Sprintf("%s; once that is settled, --known-fault %d accepts this line", adviceKeep, l.sequence))
}

// place checks that the line follows the one before it.
func (v *verifying) place(l *line, c *content) error {
	switch head := v.report.Head; {
	case v.report.Lines == 0 || (c.Missing != nil && v.Known[l.sequence] && l.sequence > head.Sequence):
		return nil // nothing before to compare with, or known to be missing
	case l.sequence <= head.Sequence:
		return v.fault(l.sequence, fmt.Sprintf("line %d is in the place of line %d: lines were repeated or reordered, "+
			"or two servers wrote this log", l.sequence, head.Sequence+1), adviceKeep)
	case l.sequence > head.Sequence+1:
		missing := span{head.Sequence + 1, l.sequence - 1}
		return v.fault(missing.From, fmt.Sprintf("%v missing before line %d: removed, reordered, or in a file "+
			"that was not given", missing, l.sequence), adviceFiles+"; otherwise "+adviceKeep)
	case l.prev != head.MAC:
		return v.fault(l.sequence, "the line follows another line than the one before it: "+
			"the lines before it are of another chain", adviceKeep)
	}
	return nil
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
	case l.kind == kindWatch: // releases nothing
	case c.Decision == Allow:
		r.Allowed++
	case c.Decision == Deny:
		r.Denied++
	}
}

// finish checks that nothing is missing at either end.
func (v *verifying) finish(files []source) error {
	r := &v.report
	if r.Lines == 0 {
		return errors.New("the files have no line of a decrypt audit log: give a log file or the log directory")
	}
	v.where = Fault{File: files[0].path}
	if r.FirstLine > v.since && !v.Part {
		missing := span{v.since, r.FirstLine - 1}
		return v.fault(v.since, fmt.Sprintf("%v missing before the first one: the server did not remove them", missing),
			adviceFiles+", or add --part if this is only a part of the log; otherwise "+adviceKeep)
	}
	for _, w := range slices.Backward(v.Heads) {
		if len(v.pending[w.Sequence]) == 0 {
			continue
		}
		switch {
		case w.Sequence > r.Head.Sequence:
			v.where = Fault{File: files[len(files)-1].path}
			return v.fault(r.Head.Sequence+1, fmt.Sprintf("the log ends with line %d, but line %d was published: "+
				"it was cut off", r.Head.Sequence, w.Sequence), adviceFiles+"; otherwise "+adviceKeep)
		case w.Sequence >= r.FirstLine || !v.Part:
			return v.fault(w.Sequence, fmt.Sprintf("the files lack the line of the published head %s", w), adviceFiles)
		}
	}
	return nil
}
