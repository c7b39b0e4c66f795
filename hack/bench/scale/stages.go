// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/securevalue/secret-apiserver/hack/bench/load"
	"github.com/securevalue/secret-apiserver/hack/bench/measure"
	"github.com/securevalue/secret-apiserver/hack/bench/wire"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// pages walks through all values as client-go's pager does, from page to page, at least minPages.
const minPages = 400

func (r *Run) pages(ctx context.Context) error {
	connection, err := wire.Dial(ctx, r.side.Address, r.side.Client)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	recorder := measure.NewRecorder()
	collection := fmt.Sprintf("%s?limit=%d", load.SecureValues.Collection(namespace), load.PageSize)
	for recorder.Total() < minPages && ctx.Err() == nil {
		seen, next := 0, ""
		for {
			list, err := r.page(connection, recorder, collection+next)
			if err != nil {
				return err
			}
			seen += len(list.Items)
			if list.Continue == "" {
				break
			}
			next = "&continue=" + url.QueryEscape(list.Continue)
		}
		if seen != r.Objects {
			return fmt.Errorf("the pages have %d values, want %d", seen, r.Objects)
		}
	}
	r.count("pages", recorder)
	for _, percent := range []float64{50, 99, 99.9} {
		r.Report.Add(fmt.Sprintf("page of %d: p%v", load.PageSize, percent), seconds(recorder.Quantile(percent))*1000, "ms")
	}
	return ctx.Err()
}

// page gets one page; only the request is timed.
func (r *Run) page(connection *wire.Conn, recorder *measure.Recorder, path string) (*v1beta1.SecureValueList, error) {
	var body []byte
	started := time.Now()
	status, err := connection.Do(wire.Request{Method: http.MethodGet, Path: path, Accept: "application/vnd.kubernetes.protobuf"},
		func(part []byte) { body = append(body, part...) })
	recorder.Add(time.Since(started), status, err)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %d", path, status)
	}
	return decodeList(body)
}

// decodeList reads a list in Kubernetes' protobuf envelope.
func decodeList(body []byte) (*v1beta1.SecureValueList, error) {
	const magic = "k8s\x00"
	var envelope runtime.Unknown
	list := &v1beta1.SecureValueList{}
	if len(body) < len(magic) || string(body[:len(magic)]) != magic {
		return nil, fmt.Errorf("a list of %d bytes is not protobuf", len(body))
	}
	if err := envelope.Unmarshal(body[len(magic):]); err != nil {
		return nil, err
	}
	return list, list.Unmarshal(envelope.Raw)
}

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
	progress := progress(r.Log, "values under the new key", r.Objects)
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
		progress(int64(now.values))
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

// progressPeriod is how often a long stage says how far it is.
const progressPeriod = 2 * time.Second

// progress returns a function that prints how far a stage is, for many goroutines, as often as one likes.
func progress(log io.Writer, what string, total int) func(done int64) {
	var mutex sync.Mutex
	said := time.Now()
	return func(done int64) {
		mutex.Lock()
		defer mutex.Unlock()
		if time.Since(said) >= progressPeriod {
			said = time.Now()
			_, _ = fmt.Fprintf(log, "         %d of %d %s\n", done, total, what)
		}
	}
}
