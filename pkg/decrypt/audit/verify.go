// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Verification says what to check a log against.
type Verification struct {
	// Keys are those that the log was written under.
	Keys *Keys
	// Heads are published heads: the log must have their lines.
	Heads []Witness
	// Part allows that older lines are missing, because only a part of the log is at hand.
	Part bool
	// Known are the numbers of opening lines whose fault (cut-off, rewritten, damaged) has been looked into.
	Known map[uint64]bool
}

// Report says what a sound log holds.
type Report struct {
	Files, Lines        int
	Allowed, Denied     int64
	Suppressed          int64
	FirstLine           uint64
	Head                Head
	Instance, Chain     string
	FirstTime, LastTime time.Time
}

// Fault is the first thing that is wrong with a log.
type Fault struct {
	// File and Line say where, Line from 1. Line is 0 when it is about the log as a whole.
	File string
	Line int
	// Sequence is the number of the line that is bad, missing, or stands in the place of another.
	Sequence uint64
	// Problem says what is wrong, Advice what to do.
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
	adviceKeep  = "keep all files as they are for an inquiry, and compare with a copy that was shipped elsewhere"
	adviceFiles = "give the missing file too (the folder of the log will do)"
)

// Verify checks the chain over all lines of the files, which may come in any order. A *Fault names the first bad line.
func (v Verification) Verify(paths []string) (Report, error) {
	files, err := v.order(paths)
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
	since   uint64 // as the newest opening says
	pending map[uint64][]Witness
	where   Fault // file and line at hand
}

func (v *verifying) file(path string) error {
	f, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	v.report.Files++
	v.where = Fault{File: path}
	var key *key
	for in := newLineReader(f); ; {
		raw, err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		v.where.Line = in.number
		switch {
		case errors.Is(err, errTorn):
			return v.fault(v.expected(), "the last line is not complete", "if a server writes this file right now, try again; "+
				"if one was killed, its next start repairs that; else the file was cut: "+adviceKeep)
		case err != nil && !errors.Is(err, errLayout):
			return fmt.Errorf("reading %s: %w", path, err)
		}
		if key == nil {
			if _, _, key, err = readOpening(raw, v.Keys); err != nil {
				return openingFault(path, raw, err)
			}
		}
		if err := v.line(raw, key); err != nil {
			return err
		}
	}
}

func (v *verifying) expected() uint64 { return v.report.Head.Sequence + 1 }

func (v *verifying) fault(sequence uint64, problem, advice string) error {
	f := v.where
	f.Sequence, f.Problem, f.Advice = sequence, problem, advice
	return &f
}

func (v *verifying) line(raw []byte, key *key) error {
	l, err := parseLine(raw)
	if err != nil {
		return v.fault(v.expected(), "this is no line of a decrypt audit log: it was edited", adviceKeep)
	}
	if !l.sound(key) {
		return v.fault(l.sequence, "the MAC does not match the line: it was edited", adviceKeep)
	}
	var content content
	if err := json.Unmarshal(raw, &content); err != nil {
		return v.fault(l.sequence, "the line is no JSON although its MAC matches", "report this as a fault of the program")
	}
	if err := v.place(&l, &content); err != nil {
		return err
	}
	v.count(&l, &content)
	return v.witness(l.head())
}

// place checks that the line belongs where it stands.
func (v *verifying) place(l *line, c *content) error {
	if l.kind == kindOpen {
		v.since = c.Since
		if err := v.opening(l, c); err != nil {
			return err
		}
	}
	switch head := v.report.Head; {
	case v.report.Lines == 0 || (c.Missing != nil && v.Known[l.sequence] && l.sequence > head.Sequence):
		return nil // nothing before to compare with, or known to be missing
	case l.sequence <= head.Sequence:
		return v.fault(l.sequence, fmt.Sprintf("line %d stands where line %d belongs: lines were repeated or put in another order, or two servers wrote this log",
			l.sequence, head.Sequence+1), adviceKeep)
	case l.sequence > head.Sequence+1:
		return v.fault(head.Sequence+1, fmt.Sprintf("%v missing before line %d: removed, put in another order, or in a file that was not given",
			span{head.Sequence + 1, l.sequence - 1}, l.sequence), adviceFiles+"; else "+adviceKeep)
	case l.prev != head.MAC:
		return v.fault(l.sequence, "the line follows another line than the one before it: the lines before it are of another chain", adviceKeep)
	}
	return nil
}

// opening reports what the server itself found wrong when it wrote this line.
func (v *verifying) opening(l *line, c *content) error {
	var problem string
	switch {
	case v.Known[l.sequence]:
		return nil
	case c.Opened == openCutOff && c.Missing != nil:
		problem = fmt.Sprintf("the server found at its start that %v had been published and were gone", c.Missing)
	case c.Opened == openRewritten:
		problem = "the server found at its start that the log no longer held the line it had published"
	case c.Opened == openDamaged:
		problem = "the server found at its start that the last line was not one of its own"
	default:
		return nil
	}
	return v.fault(l.sequence, problem, fmt.Sprintf("%s; once that is settled, --known-fault %d lets this line pass", adviceKeep, l.sequence))
}
