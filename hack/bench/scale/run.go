// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/load"
	"github.com/securevalue/secret-apiserver/hack/bench/measure"
	"github.com/securevalue/secret-apiserver/hack/bench/report"
	"github.com/securevalue/secret-apiserver/hack/bench/world"
)

const namespace = "scale"

// Options say how large the run is.
type Options struct {
	// Objects is how many values are stored, each of Size bytes.
	Objects, Size int
	// Writers fill, Listers list all at once, Watchers watch.
	Writers, Listers, Watchers int
	// Restarts is how often the server is stopped and started.
	Restarts int
}

// Defaults are the ones of issue and documentation: 100,000 values of 1 KiB.
func Defaults() Options {
	return Options{Objects: 100_000, Size: 1024, Writers: 16, Listers: 16, Watchers: 1000, Restarts: 3}
}

// Run is a running scale test.
type Run struct {
	Options

	World  *world.World
	Report *report.Scale
	// Log gets the progress.
	Log io.Writer

	side   *world.Side
	empty  measure.Memory // of the server before there was a value
	live   float64        // its heap then
	failed int64
}

// stage is one step with its name, for the log.
type stage struct {
	name string
	do   func(context.Context) error
}

// Do runs every stage. What was measured until an error is in the report.
func (r *Run) Do(ctx context.Context) error {
	started := time.Now()
	for _, stage := range []stage{
		{"start", r.start}, {"fill", r.fill}, {"memory", r.memory}, {"pages", r.pages}, {"lists", r.lists},
		{"watch", r.watch}, {"restart", r.restart}, {"rewrap", r.rewrap},
	} {
		_, _ = fmt.Fprintf(r.Log, "[%4.0f s] %s\n", time.Since(started).Seconds(), stage.name)
		if err := stage.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", stage.name, err)
		}
	}
	return r.check(ctx)
}

func (r *Run) start(ctx context.Context) (err error) {
	if r.side, err = r.World.Start(ctx, world.Embedded); err != nil {
		return err
	}
	r.Report.Add("first start to ready, no values", r.side.Ready.Seconds(), "s")
	return nil
}

// request is a slice of this run.
func (r *Run) request(op load.Op, clients int) *load.Slice {
	return &load.Slice{
		Address: r.side.Address, TLS: r.side.Client, Kind: load.SecureValues, Encoding: load.Protobuf, Namespace: namespace,
		Op: op, Size: r.Size, Clients: clients, Prefix: "v",
	}
}

func (r *Run) fill(ctx context.Context) error {
	before, err := measure.Settle(ctx, r.side)
	if err != nil {
		return err
	}
	r.empty, r.live = before.Server, before.Live
	slice := r.request(load.Create, r.Writers)
	slice.Limit = int64(r.Objects)
	slice.Progress = progress(r.Log, "values stored", r.Objects)
	outcome, err := slice.Run(ctx)
	if err != nil {
		return err
	}
	r.count("fill", outcome.Recorder)
	r.Report.Add("fill rate, "+fmt.Sprint(r.Writers)+" clients", float64(outcome.OK)/outcome.Elapsed.Seconds(), "values/s")
	r.Report.Add("create p99 while filling", seconds(outcome.Quantile(99))*1000, "ms")
	return nil
}

func (r *Run) memory(ctx context.Context) error {
	after, err := measure.Settle(ctx, r.side)
	if err != nil {
		return err
	}
	n := float64(r.Objects)
	r.Report.Add("server RSS with all values", float64(after.Server.Resident)/(1<<20), "MiB")
	r.Report.Add("RSS growth for each value", float64(after.Server.Resident-r.empty.Resident)/n, "bytes")
	r.Report.Add("live heap growth for each value", (after.Live-r.live)/n, "bytes")
	return nil
}

// lists has every client list all values once, at the same time.
func (r *Run) lists(ctx context.Context) error {
	if err := measure.ResetPeak(r.side.ServerPID()); err != nil {
		return err
	}
	before, _, err := r.side.Memory()
	if err != nil {
		return err
	}
	slice := r.request(load.List, r.Listers)
	slice.Limit, slice.Gzip = int64(r.Listers), true
	outcome, err := slice.Run(ctx)
	if err != nil {
		return err
	}
	after, _, err := r.side.Memory()
	if err != nil {
		return err
	}
	r.count("lists", outcome.Recorder)
	name := fmt.Sprintf("%d full lists at once", r.Listers)
	r.Report.Add(name+": added peak RSS", float64(after.Peak-before.Resident)/(1<<20), "MiB")
	r.Report.Add(name+": all done after", outcome.Elapsed.Seconds(), "s")
	r.Report.Add(name+": bytes of one", float64(outcome.Received)/float64(r.Listers)/(1<<20), "MiB")
	return nil
}

func (r *Run) watch(ctx context.Context) error {
	slice := r.request(load.Patch, r.Watchers)
	slice.Names = []string{"v-0000000"}
	fanout := load.Fanout{Slice: *slice, Writes: 20, Pause: 200 * time.Millisecond}
	outcome, err := fanout.Run(ctx)
	if err != nil {
		return err
	}
	r.count("watch", outcome.Recorder)
	name := fmt.Sprintf("write to event at %d watchers: ", r.Watchers)
	for _, percent := range []float64{50, 99} {
		r.Report.Add(fmt.Sprintf("%sp%v", name, percent), seconds(outcome.Quantile(percent))*1000, "ms")
	}
	r.Report.Add(name+"longest", seconds(outcome.Max())*1000, "ms")
	return nil
}

func (r *Run) restart(ctx context.Context) error {
	var starts []float64
	for range r.Restarts {
		if err := r.side.Stop(); err != nil {
			return err
		}
		took, err := r.side.Start(ctx)
		if err != nil {
			return err
		}
		starts = append(starts, took.Seconds())
	}
	median := measure.Median(starts)
	r.Report.Add("start to ready with all values", median, "s")
	r.Report.Aim(median, 5)
	return nil
}

// check asks the server how many values it has.
func (r *Run) check(ctx context.Context) error {
	stored, err := load.Count(ctx, r.side.Address, r.side.Client, load.SecureValues, namespace)
	if err != nil {
		return err
	}
	r.Report.Add("values that the server has at the end", float64(stored.Objects), "")
	r.Report.Add("requests that failed", float64(r.failed), "")
	if stored.Objects != int64(r.Objects) {
		return fmt.Errorf("the server has %d values, and this program made %d", stored.Objects, r.Objects)
	}
	return nil
}

func (r *Run) count(what string, recorder *measure.Recorder) {
	if n := recorder.Failures(); n > 0 {
		r.failed += n
		_, _ = fmt.Fprintf(r.Log, "         %s: %d of %d failed: %v\n", what, n, recorder.Total(), recorder.Failed)
	}
}

func seconds(d time.Duration) float64 { return d.Seconds() }
