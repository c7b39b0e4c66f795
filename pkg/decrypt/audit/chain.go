// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// MAC is the HMAC-SHA256 of a line. Each line holds that of the line before it.
type MAC [32]byte

// String returns the form used in the log.
func (m MAC) String() string { return hex.EncodeToString(m[:]) }

// Head identifies the last line of a chain.
type Head struct {
	// Sequence is the number of the line, MAC its MAC.
	Sequence uint64
	MAC      MAC
}

// String returns the form that `audit verify --head` takes: SEQUENCE:MAC.
func (h Head) String() string { return strconv.FormatUint(h.Sequence, 10) + ":" + h.MAC.String() }

// A line is {"seq":N,"prev":"MAC","kind":"KIND",FIELDS,"mac":"MAC"}. Its MAC covers the bytes as they are in the file,
// from the first brace up to the comma before "mac": verification neither parses nor re-encodes anything.
const (
	seqPart  = `{"seq":`
	prevPart = `,"prev":"`
	kindPart = `","kind":"`
	macPart  = `,"mac":"`
	endPart  = `"}`

	macDigits = 2 * len(MAC{})
	macLength = len(macPart) + macDigits + len(endPart)
)

// maxLine bounds a line in bytes, whatever a caller's name consists of: JSON writes up to six bytes for one.
const maxLine = 64 << 10

// The kinds of lines.
const (
	kindOpen       = "open"       // the first line of a file or of a run of the server; see opening
	kindDecrypt    = "decrypt"    // a Record
	kindWatch      = "watch"      // a Record of a stream of changes
	kindSuppressed = "suppressed" // a summary of denials that were not written one by one
)

// entry is a line without its place in the chain: a kind and a JSON object.
type entry struct {
	kind   string
	fields []byte
}

// newEntry encodes the fields of an entry.
func newEntry(kind string, fields any) (entry, error) {
	encoded, err := json.Marshal(fields)
	if err != nil {
		return entry{}, fmt.Errorf("decrypt audit log: %w", err)
	}
	return entry{kind, encoded}, nil
}

// appendLine appends the line of e after head to dst, and moves head to that line.
func appendLine(dst []byte, key *key, head *Head, e entry) []byte {
	start := len(dst)
	dst = append(dst, seqPart...)
	dst = strconv.AppendUint(dst, head.Sequence+1, 10)
	dst = append(dst, prevPart...)
	dst = hex.AppendEncode(dst, head.MAC[:])
	dst = append(dst, kindPart...)
	dst = append(dst, e.kind...)
	dst = append(dst, `",`...)
	dst = append(dst, e.fields[1:len(e.fields)-1]...)
	*head = Head{Sequence: head.Sequence + 1, MAC: key.mac(dst[start:])}
	dst = append(dst, macPart...)
	dst = hex.AppendEncode(dst, head.MAC[:])
	return append(dst, endPart+"\n"...)
}

// line is a parsed line. It references the bytes that it was read from.
type line struct {
	sequence uint64
	prev     MAC
	kind     string
	mac      MAC
	covered  []byte // what the MAC covers
	raw      []byte

	number int   // in its file, from 1
	end    int64 // offset in the file after the line
}

func (l *line) head() Head { return Head{Sequence: l.sequence, MAC: l.mac} }

// authentic reports whether the line was written under key and not changed.
func (l *line) authentic(key *key) bool {
	want := key.mac(l.covered)
	return hmac.Equal(want[:], l.mac[:])
}

// errLayout is also part of the other errors of bad lines.
var (
	errLayout = errors.New("not a line of a decrypt audit log")
	errFormat = fmt.Errorf("%w of this version", errLayout)
	errMAC    = fmt.Errorf("%w: its MAC does not match", errLayout)
)

// parseLine parses raw, a line without its line feed. It checks the layout only.
func parseLine(raw []byte) (line, error) {
	if len(raw) < macLength || !bytes.HasPrefix(raw, []byte(seqPart)) {
		return line{}, errLayout
	}
	l := line{raw: raw, covered: raw[:len(raw)-macLength]}
	tail := raw[len(l.covered):]
	if !bytes.HasPrefix(tail, []byte(macPart)) || !bytes.HasSuffix(tail, []byte(endPart)) ||
		!decodeMAC(&l.mac, tail[len(macPart):len(macPart)+macDigits]) {
		return line{}, errLayout
	}
	number, rest, found := bytes.Cut(l.covered[len(seqPart):], []byte(prevPart))
	sequence, err := strconv.ParseUint(string(number), 10, 64)
	if !found || err != nil || len(rest) < macDigits || !decodeMAC(&l.prev, rest[:macDigits]) {
		return line{}, errLayout
	}
	rest, found = bytes.CutPrefix(rest[macDigits:], []byte(kindPart))
	kind, _, end := bytes.Cut(rest, []byte(`",`))
	if !found || !end {
		return line{}, errLayout
	}
	l.sequence, l.kind = sequence, string(kind)
	return l, nil
}

// decodeMAC accepts lower-case digits only: one MAC has one spelling.
func decodeMAC(mac *MAC, digits []byte) bool {
	_, err := hex.Decode(mac[:], digits)
	return err == nil && bytes.Equal(bytes.ToLower(digits), digits)
}

// openReason is why a file or a run starts.
type openReason string

const (
	openCreated   openReason = "created"   // the first line of a chain
	openStarted   openReason = "started"   // the server started and resumed the chain
	openRotated   openReason = "rotated"   // the previous file reached its size
	openRekeyed   openReason = "rekeyed"   // the key file has a new first key
	openReplaced  openReason = "replaced"  // something else deleted, moved, cut or wrote to the previous file
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
	Chain    string     `json:"chain"`    // random, chosen with the first line
	Instance string     `json:"instance"` // Config.Instance
	Key      string     `json:"key"`      // id of the key of this file
	Reason   openReason `json:"reason"`
	// Since is the first line that the server has not removed by its own rules for old files.
	Since uint64 `json:"since"`
	// Torn counts the bytes of an unfinished last line that were removed at start. It was never acknowledged.
	Torn int64 `json:"torn,omitempty"`
	// Missing are lines that were published and not found at start.
	Missing *span `json:"missing,omitempty"`
}

// parseOpening reads the first line of a file.
func parseOpening(l line) (opening, error) {
	var o opening
	if l.kind != kindOpen || json.Unmarshal(l.raw, &o) != nil {
		return opening{}, errLayout
	}
	if o.Format != formatVersion {
		return opening{}, fmt.Errorf("%w: its format is %d, not %d: use the program that wrote it",
			errFormat, o.Format, formatVersion)
	}
	return o, nil
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
