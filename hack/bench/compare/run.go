// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/load"
	"github.com/securevalue/secret-apiserver/hack/bench/measure"
	"github.com/securevalue/secret-apiserver/hack/bench/report"
	"github.com/securevalue/secret-apiserver/hack/bench/world"
)

// Run is a running comparison.
type Run struct {
	Options

	World  *world.World
	Report *report.Report
	// Log gets a line for each cell.
	Log io.Writer

	sides   map[string]*side
	slices  int // so far: names are never used twice
	started time.Time
}

// side is a server with what this program knows of its content.
type side struct {
	*world.Side

	kind   load.Kind
	filled map[int][]string // the objects by size
	churn  []string         // what Create made and Delete is to take away
}

// Do starts the sides, fills them, runs the plan and sums up. What was measured is in the report also after an error.
func (r *Run) Do(ctx context.Context) error {
	r.started, r.sides = time.Now(), map[string]*side{}
	for _, name := range r.Sides {
		if err := r.start(ctx, name); err != nil {
			return err
		}
	}
	if err := r.fill(ctx); err != nil {
		return fmt.Errorf("filling: %w", err)
	}
	if err := r.cells(ctx, r.plan()); err != nil {
		return err
	}
	if audited := r.audited(); len(audited) > 0 {
		if err := r.restart(ctx); err != nil {
			return err
		}
		if err := r.cells(ctx, audited); err != nil {
			return err
		}
	}
	return r.check(ctx)
}

func (r *Run) start(ctx context.Context, name string) error {
	started, err := r.World.Start(ctx, name)
	if err != nil {
		return err
	}
	s := &side{Side: started, kind: load.SecureValues, filled: map[int][]string{}}
	if name == world.Core {
		s.kind = load.Secrets
	}
	r.sides[name] = s
	var namespaces []string
	for _, size := range r.Sizes {
		namespaces = append(namespaces, stock(size), churn(size))
	}
	r.logf("%s was ready after %s", name, started.Ready.Round(10*time.Millisecond))
	return s.Grant(ctx, namespaces...)
}

// restart makes the servers record each request.
func (r *Run) restart(ctx context.Context) error {
	if r.late() {
		return nil // the cells will be named as left out
	}
	for _, name := range without(r.Sides, world.Embedded) {
		if err := r.sides[name].Restart(ctx, true); err != nil {
			return fmt.Errorf("restarting %s with audit: %w", name, err)
		}
	}
	return nil
}

// late says that no further cell may be started.
func (r *Run) late() bool { return time.Since(r.started) > r.Budget }

// stock is the namespace that is read and changed, churn the one that is created in and deleted from.
func stock(size int) string { return fmt.Sprintf("stock-%d", size) }
func churn(size int) string { return fmt.Sprintf("churn-%d", size) }

func (r *Run) cells(ctx context.Context, cells []cell) error {
	for i, c := range cells {
		if r.late() {
			for _, left := range cells[i:] {
				r.Report.Checks = append(r.Report.Checks, "NOT MEASURED, for lack of time: "+left.Name())
			}
			return nil
		}
		if err := r.cell(ctx, c); err != nil {
			return fmt.Errorf("%s of %d bytes by %d clients: %w", c.Op, c.Size, c.Clients, err)
		}
		c.Finish()
		r.Report.Cells = append(r.Report.Cells, c.Cell)
		r.logf("%d/%d %s", i+1, len(cells), c.Line())
	}
	return nil
}

// cell gives each side its turn, round by round.
func (r *Run) cell(ctx context.Context, c cell) error {
	rate := 0.0
	if c.rate > 0 {
		slowest := r.slowest(c)
		if slowest == 0 {
			return nil // the rate is a fraction of that of the closed loop, which was not run
		}
		rate = c.rate * slowest
	}
	turn, rounds := r.turn, r.Rounds
	if c.Mode == report.Watch {
		turn, rounds = r.watchTurn, min(rounds, watchRounds)
	}
	for range rounds {
		for _, name := range c.sides {
			if err := turn(ctx, c, r.sides[name], rate); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// slowest is the rate of the slower side in the closed loop of the same operation.
func (r *Run) slowest(c cell) (rate float64) {
	for _, other := range r.Report.Cells {
		if other.Mode != report.Closed || other.Op != c.Op || other.Size != c.Size || other.Clients != standardClients {
			continue
		}
		for _, name := range c.sides {
			if s := other.Sides[name]; s != nil && (rate == 0 || s.PerSecond < rate) {
				rate = s.PerSecond
			}
		}
		return rate
	}
	return 0
}

// turn runs one slice. After a Create that is not followed by a Delete cell, what it made is deleted unmeasured.
func (r *Run) turn(ctx context.Context, c cell, s *side, rate float64) error {
	slice := r.slice(c, s)
	slice.Rate = rate
	if c.Op == string(load.Delete) {
		if err := r.provide(ctx, c, s); err != nil {
			return err
		}
		slice.Names, slice.For, s.churn = s.churn, 0, nil
	}
	outcome, err := r.measure(ctx, c, s, slice)
	if err != nil {
		return err
	}
	if c.Op == string(load.Create) {
		s.churn = outcome.Made
		return r.clear(ctx, c, s)
	}
	return nil
}

// provide creates what is then deleted: by as many clients, so that it takes about a slice to delete.
func (r *Run) provide(ctx context.Context, c cell, s *side) error {
	slice := r.slice(c, s)
	slice.Op = load.Create
	outcome, err := slice.Run(ctx)
	if err == nil {
		s.churn = outcome.Made
	}
	return err
}

// clear deletes what a slice made.
func (r *Run) clear(ctx context.Context, c cell, s *side) error {
	if len(s.churn) == 0 {
		return nil
	}
	slice := r.slice(c, s)
	slice.Op, slice.Clients, slice.For, slice.Names = load.Delete, standardClients, 0, s.churn
	s.churn = nil
	_, err := slice.Run(ctx)
	return err
}

func (r *Run) slice(c cell, s *side) *load.Slice {
	r.slices++
	slice := &load.Slice{
		Address: s.Address, TLS: s.Client, Kind: s.kind, Encoding: c.Encoding, Gzip: r.Gzip, Op: load.Op(c.Op), Size: c.Size,
		Namespace: stock(c.Size), Names: s.filled[c.Size], Prefix: fmt.Sprintf("s%d", r.slices), Clients: c.Clients, For: r.Slice,
	}
	if slice.Op == load.Create || slice.Op == load.Delete {
		slice.Namespace, slice.Names = churn(c.Size), nil
	}
	return slice
}

// measure runs a slice between two readings of the clocks.
func (r *Run) measure(ctx context.Context, c cell, s *side, slice *load.Slice) (*load.Outcome, error) {
	before, err := readClocks(s.Side)
	if err != nil {
		return nil, err
	}
	outcome, err := slice.Run(ctx)
	if err != nil {
		return nil, err
	}
	round, err := before.round(s.Side, outcome.OK, outcome.Elapsed)
	if err != nil {
		return nil, err
	}
	round.Bytes = float64(outcome.Sent+outcome.Received) / float64(max(outcome.Total(), 1))
	round.OfferedPerSecond = slice.Rate
	c.Add(s.Name, round, outcome.Recorder)
	return outcome, c.remember(s)
}

// watchTurn runs one fan-out.
func (r *Run) watchTurn(ctx context.Context, c cell, s *side, _ float64) error {
	slice := r.slice(c, s)
	writes := max(20, min(200, 20000/c.Clients))
	if c.Size > 1024 {
		writes = max(20, writes/4)
	}
	var before clocks
	fanout := load.Fanout{Slice: *slice, Writes: writes, Measured: func() (err error) {
		before, err = readClocks(s.Side)
		return err
	}}
	outcome, err := fanout.Run(ctx)
	if err != nil {
		return err
	}
	round, err := before.round(s.Side, outcome.OK, outcome.Elapsed)
	if err != nil {
		return err
	}
	round.Bytes = float64(outcome.Received) / float64(max(outcome.Total(), 1))
	c.Add(s.Name, round, outcome.Recorder)
	return c.remember(s)
}

// remember keeps the memory of the side at the end of the turn.
func (c cell) remember(s *side) error {
	server, etcd, err := s.Memory()
	c.Sides[s.Name].Resident, c.Sides[s.Name].ResidentEtcd = server.Resident, etcd.Resident
	return err
}

// clocks are the CPU times of a side and of this program.
type clocks struct {
	side   world.Usage
	client time.Duration
}

func readClocks(s *world.Side) (c clocks, err error) {
	if c.side, err = s.Usage(); err != nil {
		return c, err
	}
	c.client, err = measure.CPU(os.Getpid())
	return c, err
}

// round is what was spent since.
func (c clocks) round(s *world.Side, done int64, elapsed time.Duration) (report.Round, error) {
	now, err := readClocks(s)
	each := func(spent time.Duration) float64 { return float64(spent.Microseconds()) / float64(done) }
	round := report.Round{Seconds: elapsed.Seconds(), OK: done}
	round.PerSecond = float64(done) / elapsed.Seconds()
	if done > 0 { // otherwise there is nothing to share the time out to
		round.ServerCPU, round.EtcdCPU = each(now.side.Server-c.side.Server), each(now.side.Etcd-c.side.Etcd)
		round.CPU, round.ClientCPU = round.ServerCPU+round.EtcdCPU, each(now.client-c.client)
	}
	return round, err
}

func (r *Run) logf(format string, args ...any) {
	_, _ = fmt.Fprintf(r.Log, "[%4.0f s] %s\n", time.Since(r.started).Seconds(), fmt.Sprintf(format, args...))
}
