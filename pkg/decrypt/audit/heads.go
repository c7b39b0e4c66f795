// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/klog/v2"
)

// ErrHeadBehind is returned when the published head has a higher number than the one to publish, or is another line of
// the same number.
var ErrHeadBehind = errors.New("the published head is not an earlier line of this log")

// HeadStore keeps the published head of one instance where writers of the log cannot change it.
type HeadStore interface {
	// Load returns the published head, false when there is none yet.
	Load(ctx context.Context) (Head, bool, error)
	// Advance publishes a head. It returns ErrHeadBehind, and changes nothing, unless the head's sequence is greater
	// than the published one or the two are equal.
	Advance(ctx context.Context, head Head) error
}

// publishTimeout bounds one publication, so that a slow etcd does not delay the next.
const publishTimeout = 5 * time.Second

// publish publishes the head until ctx ends. It never delays the writer.
func (l *Log) publish(ctx context.Context) {
	ticker := time.NewTicker(l.config.PublishInterval)
	defer ticker.Stop()
	var last Head
	for {
		select {
		case <-ticker.C:
			if head := l.Head(); head != last && l.publishHead(ctx, head) {
				last = head
			}
		case <-ctx.Done():
			return
		}
	}
}

// publishHead writes the head to the server's log and to Heads. The metric always has it.
func (l *Log) publishHead(ctx context.Context, head Head) bool {
	klog.InfoS("Head of the decrypt audit log", "instance", l.config.Instance, "head", head)
	if l.config.Heads == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err := l.config.Heads.Advance(ctx, head)
	if err == nil {
		lastPublished.SetToCurrentTime()
		return true
	}
	publishErrors.Inc()
	text := "Could not publish the head of the decrypt audit log; will retry"
	if errors.Is(err, ErrHeadBehind) {
		text = "Another server publishes the head of a decrypt audit log under the same name: give each its own"
	}
	klog.ErrorS(err, text, "instance", l.config.Instance, "head", head)
	return false
}

// Witness is a published head, or the first digits of its MAC, from a place outside of the log.
type Witness struct {
	// Sequence is the number of the line.
	Sequence uint64
	prefix   string
}

// witnessDigits is the least that a witness must have of a MAC: what the metric holds.
const witnessDigits = 12

// ParseWitness parses SEQUENCE:MAC. The first 12 or more digits of the MAC are enough.
func ParseWitness(text string) (Witness, error) {
	sequence, mac, found := strings.Cut(text, ":")
	number, err := strconv.ParseUint(sequence, 10, 64)
	if !found || err != nil || len(mac) < witnessDigits || len(mac) > macDigits ||
		strings.Trim(mac, "0123456789abcdef") != "" {
		return Witness{}, fmt.Errorf("invalid head %q: expected SEQUENCE:MAC, a number and %d to %d hexadecimal digits",
			text, witnessDigits, macDigits)
	}
	return Witness{Sequence: number, prefix: mac}, nil
}

// ParseHead parses what Head.String returned.
func ParseHead(text string) (Head, error) {
	w, err := ParseWitness(text)
	if err != nil {
		return Head{}, err
	}
	head := Head{Sequence: w.Sequence}
	if n, err := hex.Decode(head.MAC[:], []byte(w.prefix)); err != nil || n != len(head.MAC) {
		return Head{}, fmt.Errorf("invalid head %q: expected all %d digits of the MAC", text, macDigits)
	}
	return head, nil
}

// String returns what ParseWitness parsed.
func (w Witness) String() string { return strconv.FormatUint(w.Sequence, 10) + ":" + w.prefix }

func (w Witness) matches(head Head) bool {
	return w.Sequence == head.Sequence && strings.HasPrefix(head.MAC.String(), w.prefix)
}
