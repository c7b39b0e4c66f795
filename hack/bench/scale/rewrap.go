// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"context"
	"fmt"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/measure"
)

const (
	rewrapped = `secret_rewraps_total{result="rewrapped"}`
	// rewrapPoll is how often the metrics are read; it costs the server some milliseconds.
	rewrapPoll = 200 * time.Millisecond
	// rewrapTime is when a rotation that is not over has been measured for long enough.
	rewrapTime = 3 * time.Minute
	// rewrapPatience is how long re-encryption may make no progress before the stage fails.
	rewrapPatience = 2 * time.Minute
)

// rewrap rotates the key of a server that re-encrypts without a rate limit, with the key file of the next key.
func (r *Run) rewrap(ctx context.Context) error {
	if err := r.side.WriteKeys("next", "bench"); err != nil {
		return err
	}
	if err := r.side.Restart(ctx, false, "--rewrap-qps=100000", "--rewrap-concurrency=16"); err != nil {
		return err
	}
	progress := newProgress(r.Log, "values under the new key", int64(r.Objects))
	var first, last count
	for since := time.Now(); last.values < float64(r.Objects) && last.at.Sub(first.at) < rewrapTime; time.Sleep(rewrapPoll) {
		now, err := r.rewrapped(ctx)
		if err != nil {
			return err
		}
		if now.values > last.values {
			last, since = now, now.at
		}
		if first.values == 0 {
			first = last
		}
		if time.Since(since) > rewrapPatience {
			return fmt.Errorf("%.0f of %d values are under the new key, and no further one since %s", last.values, r.Objects, rewrapPatience)
		}
		progress.set(int64(now.values))
	}
	if last.at.Equal(first.at) {
		return fmt.Errorf("%d values were rewrapped between two looks: store more", r.Objects)
	}
	rate := (last.values - first.values) / last.at.Sub(first.at).Seconds()
	r.Report.Add("rewrap rate, 16 at once, --rewrap-qps out of the way", rate, "values/s")
	r.Report.Add("values that were rewrapped in that time", last.values, "")
	return nil
}

// count is how many values were under the new key at a time.
type count struct {
	values float64
	at     time.Time
}

func (r *Run) rewrapped(ctx context.Context) (count, error) {
	text, err := r.side.Metrics(ctx)
	if err != nil {
		return count{}, err
	}
	values, err := measure.Metric(text, rewrapped)
	if err != nil {
		values = 0 // the metric is there from the first rewrap on
	}
	return count{values, time.Now()}, nil
}
