// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"strconv"
)

// A line is {"seq":N,"prev":"MAC","kind":"KIND",FIELDS,"mac":"MAC"}. Its MAC is taken over the bytes as they stand in the
// file, from the first brace up to the comma before "mac": nothing has to be parsed or written anew to check it.
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
	kindOpen       = "open"       // a file or a run of the server begins; see opening
	kindDecrypt    = "decrypt"    // a Record
	kindSuppressed = "suppressed" // a summary of denials that were not written one by one
)

// entry is a line without its place in the chain: a kind and a JSON object.
type entry struct {
	kind   string
	fields []byte
}

// appendLine writes the line of e after head to dst, and moves head on to it.
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

// line is a line taken apart. It points into the bytes that it was read from.
type line struct {
	sequence uint64
	prev     MAC
	kind     string
	mac      MAC
	covered  []byte // what the MAC is taken over
	raw      []byte
}

func (l *line) head() Head { return Head{Sequence: l.sequence, MAC: l.mac} }

// sound says whether the line is as it was written under key.
func (l *line) sound(key *key) bool {
	want := key.mac(l.covered)
	return hmac.Equal(want[:], l.mac[:])
}

var errLayout = errors.New("not a line of a decrypt audit log")

// parseLine takes raw, a line without its line feed, apart. It checks the layout only.
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

// decodeMAC takes lower-case digits only: one MAC has one spelling.
func decodeMAC(mac *MAC, digits []byte) bool {
	_, err := hex.Decode(mac[:], digits)
	return err == nil && bytes.Equal(bytes.ToLower(digits), digits)
}
