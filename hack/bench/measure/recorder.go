// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Slow is the latency from which a request is counted as slow.
const Slow = time.Second

// Latencies are kept from a microsecond to a quarter of an hour with three digits; what is longer counts as the
// longest.
const (
	highest = 15 * time.Minute
	digits  = 3
)

// Recorder counts the requests of one client, or of many once they are merged. It is not safe for concurrent use.
type Recorder struct {
	// OK are the requests that succeeded, Slow those of them and of the failed that took a second or more.
	OK, Slow int64
	// Failed counts by reason: a status code, or "no response".
	Failed map[string]int64

	histogram *hdrhistogram.Histogram
}

// NewRecorder returns an empty one.
func NewRecorder() *Recorder {
	return &Recorder{Failed: map[string]int64{}, histogram: hdrhistogram.New(1, highest.Microseconds(), digits)}
}

// Add counts one request, whatever became of it. status is 0 when there was no response; err is for that case.
func (r *Recorder) Add(latency time.Duration, status int, err error) {
	switch {
	case err != nil || status == 0:
		r.Failed["no response"]++
	case status >= http.StatusOK && status < http.StatusMultipleChoices:
		r.OK++
	default:
		r.Failed[fmt.Sprint(status)]++
	}
	if latency >= Slow {
		r.Slow++
	}
	// The limits keep the only error away: a latency outside of the histogram.
	_ = r.histogram.RecordValue(min(max(latency.Microseconds(), 1), highest.Microseconds()))
}

// Merge adds what another has counted.
func (r *Recorder) Merge(other *Recorder) {
	r.OK += other.OK
	r.Slow += other.Slow
	for reason, n := range other.Failed {
		r.Failed[reason] += n
	}
	r.histogram.Merge(other.histogram)
}

// Failures is how many requests did not succeed.
func (r *Recorder) Failures() (n int64) {
	for _, count := range r.Failed {
		n += count
	}
	return n
}

// Total is how many requests were counted.
func (r *Recorder) Total() int64 { return r.histogram.TotalCount() }

// Quantile is the latency that percent of all requests, failed ones included, did not exceed.
func (r *Recorder) Quantile(percent float64) time.Duration {
	return time.Duration(r.histogram.ValueAtQuantile(percent)) * time.Microsecond
}

// Max is the longest latency.
func (r *Recorder) Max() time.Duration { return time.Duration(r.histogram.Max()) * time.Microsecond }

// Median is the middle of the figures, and NaN without any.
func Median(figures []float64) float64 {
	if len(figures) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(figures))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Ratio is the median over the rounds of ours ÷ theirs. Each round is a pair measured next to each other in time, so a
// machine that gets slower or faster moves both. Rounds in which one side has no figure are left out; without any that
// is left the ratio is NaN.
func Ratio(ours, theirs []float64) float64 {
	var ratios []float64
	for i, our := range ours[:min(len(ours), len(theirs))] {
		if ratio := our / theirs[i]; !math.IsNaN(ratio) && !math.IsInf(ratio, 0) {
			ratios = append(ratios, ratio)
		}
	}
	return Median(ratios)
}
