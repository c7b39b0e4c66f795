// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"k8s.io/apimachinery/pkg/util/wait"
)

// retry is the state of one call over its attempts.
type retry struct {
	backoff wait.Backoff
	// renewed: the token file was read again after a refusal.
	renewed bool
}

func newRetry() *retry {
	return &retry{backoff: wait.Backoff{
		Duration: 50 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 5 * time.Second,
	}}
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
	delay := max(r.backoff.Step(), after)
	if deadline, bounded := ctx.Deadline(); bounded && time.Until(deadline) < delay {
		return errTooLate
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hint is the Retry-After header of a response: the error of an answer that did not come from the RPC service lacks it.
type hint struct{ retryAfter atomic.Int64 }

func (h *hint) after() time.Duration { return time.Duration(h.retryAfter.Load()) }

type hintKey struct{}

func withHint(ctx context.Context) (context.Context, *hint) {
	h := &hint{}
	return context.WithValue(ctx, hintKey{}, h), h
}

// hinting stores Retry-After in the hint of a request.
type hinting struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t *hinting) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if h, ok := request.Context().Value(hintKey{}).(*hint); ok {
		h.retryAfter.Store(int64(retryAfter(response.Header.Get("Retry-After"))))
	}
	return response, nil
}

// WrappedRoundTripper is for client-go, to find the transport.
func (t *hinting) WrappedRoundTripper() http.RoundTripper { return t.next }

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
