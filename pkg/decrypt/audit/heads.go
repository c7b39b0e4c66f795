// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"k8s.io/klog/v2"
)

// ErrHeadBehind is returned when the published head is not an earlier line of this log: replacing it would hide that
// the log was cut, or that two servers write under one name.
var ErrHeadBehind = errors.New("the published head is not an earlier line of this log")

// HeadStore keeps the published head of one instance where writers of the log cannot change it.
type HeadStore interface {
	// Load returns the published head, false when there is none yet.
	Load(ctx context.Context) (Head, bool, error)
	// Advance publishes a head. It returns ErrHeadBehind, and changes nothing, unless the published head is the same,
	// or has a smaller sequence and is accepted by earlier, whose errors it returns.
	Advance(ctx context.Context, head Head, earlier func(published Head) (bool, error)) error
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
	err := l.config.Heads.Advance(ctx, head, l.isEarlier)
	if err == nil {
		l.published = head
		lastPublished.SetToCurrentTime()
		return true
	}
	publishErrors.Inc()
	text := "Could not publish the head of the decrypt audit log; will retry"
	if errors.Is(err, ErrHeadBehind) {
		text = "The published head of the decrypt audit log is not a line of this log: either another server has the " +
			"same --decrypt-audit-instance, then give each its own, or lines were cut off while a server stopped, " +
			"which the next start reports"
	}
	klog.ErrorS(err, text, "instance", l.config.Instance, "head", head)
	return false
}

// isEarlier reports whether a published head is a line of this log: the one that this run loaded or wrote last, or one
// in the files, such as that of a write whose answer was lost, or of a backup that etcd was restored from.
func (l *Log) isEarlier(published Head) (bool, error) {
	if published == l.published {
		return true, nil
	}
	_, last, err := l.inspectFiles()
	if err != nil {
		return false, err
	}
	mac, found, err := l.lookUp(last, published.Sequence)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return found && mac == published.MAC, err
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
