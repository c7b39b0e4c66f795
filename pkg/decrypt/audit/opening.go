// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"fmt"
	"time"
)

// openReason says why a file or a run begins.
type openReason string

const (
	openCreated   openReason = "created"   // the first line of a chain
	openStarted   openReason = "started"   // the server started and goes on in the same chain
	openRotated   openReason = "rotated"   // the file before had its size
	openRekeyed   openReason = "rekeyed"   // the key file has a new first key
	openReplaced  openReason = "replaced"  // the file before was deleted, moved, cut or written to by somebody else
	openDamaged   openReason = "damaged"   // the last line found at start was not one of this log
	openCutOff    openReason = "cut-off"   // lines that were published were missing at start
	openRewritten openReason = "rewritten" // the line that was published had another MAC at start
)

// formatVersion is that of the lines.
const formatVersion = 1

// opening is the first line of every file, and of every run of the server.
type opening struct {
	Time     time.Time  `json:"time"`
	Format   int        `json:"format"`
	Chain    string     `json:"chain"`    // drawn once, with the first line
	Instance string     `json:"instance"` // Config.Instance
	Key      string     `json:"key"`      // id of the key of this file
	Reason   openReason `json:"reason"`
	// Since is the first line that the server has not removed by its own rules for old files.
	Since uint64 `json:"since"`
	// Torn counts the bytes of an unfinished last line that were removed at start. It was never acknowledged.
	Torn int64 `json:"torn,omitempty"`
	// Missing are lines that were published and were not there at start.
	Missing *span `json:"missing,omitempty"`
}

// span is a range of sequence numbers, both ends included.
type span struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

func (s span) String() string {
	if s.From == s.To {
		return fmt.Sprintf("line %d", s.From)
	}
	return fmt.Sprintf("lines %d to %d", s.From, s.To)
}

func (o opening) entry() (entry, error) {
	fields, err := json.Marshal(o)
	return entry{kind: kindOpen, fields: fields}, err
}

// parseOpening reads the first line of a file.
func parseOpening(l line) (opening, error) {
	var o opening
	if l.kind != kindOpen || json.Unmarshal(l.raw, &o) != nil {
		return opening{}, errLayout
	}
	if o.Format != formatVersion {
		return opening{}, fmt.Errorf("written in format %d, this program knows format %d: use the program that wrote it", o.Format, formatVersion)
	}
	return o, nil
}
