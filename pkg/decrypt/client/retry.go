// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
)

// retry is the state of one call over its attempts.
type retry struct {
	backoff backoff
	// renewed: the token file was read again after a refusal.
	renewed bool
}

func newRetry() *retry {
	return &retry{backoff: backoff{next: 50 * time.Millisecond, most: 5 * time.Second}}
}

// backoff is a delay that doubles up to most, plus up to half of it by chance.
type backoff struct{ next, most time.Duration }

func (b *backoff) step() time.Duration {
	delay := b.next
	b.next = min(2*delay, b.most)
	return delay + rand.N(delay/2) //nolint:gosec // jitter needs no secret
}

// sleep reports whether ctx lasted that long.
func sleep(ctx context.Context, delay time.Duration) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// allows reports whether to retry a failed attempt: the server was unavailable, busy or hung, or refused a token that
// may have been replaced in its file.
func (r *retry) allows(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeResourceExhausted, connect.CodeDeadlineExceeded:
		return true
	case connect.CodeUnauthenticated:
		renewed := r.renewed
		r.renewed = true
		return !renewed
	default:
		return false
	}
}

// errTooLate: the next attempt would start after the end of ctx.
var errTooLate = errors.New("no time is left for another attempt")

// wait waits for the next attempt: longer each time, and at least for after, the Retry-After of the server. When ctx
// ends before that, it fails immediately.
func (r *retry) wait(ctx context.Context, after time.Duration) error {
	delay := max(r.backoff.step(), after)
	if deadline, bounded := ctx.Deadline(); bounded && time.Until(deadline) < delay {
		return errTooLate
	}
	if !sleep(ctx, delay) {
		return ctx.Err()
	}
	return nil
}

// hint is the Retry-After header of a response: the error of an answer that did not come from the RPC service lacks it.
type hint struct{ retryAfter atomic.Int64 }

func (h *hint) after() time.Duration { return time.Duration(h.retryAfter.Load()) }

type hintKey struct{}

func withHint(ctx context.Context) (context.Context, *hint) {
	h := &hint{}
	return context.WithValue(ctx, hintKey{}, h), h
}

// retryAfter parses a number of seconds or a date; anything else is 0.
func retryAfter(text string) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return time.Until(date)
	}
	return 0
}
