// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MAC is the HMAC-SHA256 of a line. Each line holds that of the line before it.
type MAC [32]byte

// String is how a MAC stands in the log.
func (m MAC) String() string { return hex.EncodeToString(m[:]) }

// Head names the last line of a chain.
type Head struct {
	// Sequence is the number of the line, MAC its MAC.
	Sequence uint64
	MAC      MAC
}

// String is the form that `audit verify --head` takes: SEQUENCE:MAC.
func (h Head) String() string { return strconv.FormatUint(h.Sequence, 10) + ":" + h.MAC.String() }

// ParseHead reads what String wrote.
func ParseHead(text string) (Head, error) {
	sequence, mac, found := strings.Cut(text, ":")
	number, err := strconv.ParseUint(sequence, 10, 64)
	raw, macErr := hex.DecodeString(mac)
	if !found || err != nil || macErr != nil || len(raw) != len(MAC{}) {
		return Head{}, fmt.Errorf("%q is no head of an audit chain: write SEQUENCE:MAC, a number and 64 hexadecimal digits", text)
	}
	return Head{Sequence: number, MAC: MAC(raw)}, nil
}

// witnessDigits is how much of a MAC a witness must have at least: what the metric holds.
const witnessDigits = 12

// Witness is a published head, or the first digits of its MAC, as somebody outside of the log has it.
type Witness struct {
	// Sequence is the number of the line.
	Sequence uint64
	prefix   string
}

// ParseWitness reads SEQUENCE:MAC, where the first 12 or more digits of the MAC do.
func ParseWitness(text string) (Witness, error) {
	sequence, mac, found := strings.Cut(text, ":")
	number, err := strconv.ParseUint(sequence, 10, 64)
	if !found || err != nil || len(mac) < witnessDigits || len(mac) > macDigits || strings.Trim(mac, "0123456789abcdef") != "" {
		return Witness{}, fmt.Errorf("%q is no head of an audit chain: write SEQUENCE:MAC, a number and %d to %d hexadecimal digits", text, witnessDigits, macDigits)
	}
	return Witness{Sequence: number, prefix: mac}, nil
}

// String is what ParseWitness read.
func (w Witness) String() string { return strconv.FormatUint(w.Sequence, 10) + ":" + w.prefix }

func (w Witness) matches(head Head) bool {
	return w.Sequence == head.Sequence && strings.HasPrefix(head.MAC.String(), w.prefix)
}

// ErrHeadBehind says that a published head is further than the one to be published, or another line of the same number.
var ErrHeadBehind = errors.New("the published head is not an earlier line of this log")

// HeadStore keeps the published head of one instance where whoever can write the log cannot take it back.
type HeadStore interface {
	// Load returns the published head, false when there is none yet.
	Load(ctx context.Context) (Head, bool, error)
	// Advance publishes a head. It returns ErrHeadBehind, and changes nothing, unless the head's sequence is greater than
	// the published one or the two are equal.
	Advance(ctx context.Context, head Head) error
}
