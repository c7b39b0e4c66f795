// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"context"
	"fmt"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/load"
	"github.com/securevalue/secret-apiserver/hack/bench/measure"
	"github.com/securevalue/secret-apiserver/hack/bench/report"
)

// warmObjects are created and deleted before memory is read for the first time, so that buffers and pools exist.
const warmObjects = 500

// fill makes the objects of each size on each side, and reads what they cost in memory.
func (r *Run) fill(ctx context.Context) error {
	for _, s := range r.sides {
		if err := r.warm(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	for _, size := range r.Sizes {
		growth := report.Growth{Size: size, Objects: r.Objects, Sides: map[string]report.SideGrowth{}}
		for _, name := range r.Sides {
			s := r.sides[name]
			before, err := measure.Settle(ctx, s.Side)
			if err != nil {
				return err
			}
			if err := r.fillSide(ctx, s, size); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			after, err := measure.Settle(ctx, s.Side)
			if err != nil {
				return err
			}
			growth.Sides[name] = grown(before, after, r.Objects)
		}
		r.Report.Growth = append(r.Report.Growth, growth)
	}
	return nil
}

func (r *Run) warm(ctx context.Context, s *side) error {
	c := cell{Cell: report.NewCell(report.Cell{Op: string(load.Create), Size: r.Sizes[0], Clients: standardClients, Encoding: load.Protobuf})}
	slice := r.slice(c, s)
	slice.Limit, slice.For = warmObjects, 0
	outcome, err := slice.Run(ctx)
	if err != nil {
		return err
	}
	s.churn = outcome.Made
	return r.clear(ctx, c, s)
}

func (r *Run) fillSide(ctx context.Context, s *side, size int) error {
	slice := &load.Slice{
		Address: s.Address, TLS: s.Client, Kind: s.kind, Encoding: load.Protobuf, Op: load.Create, Size: size,
		Namespace: stock(size), Prefix: "stock", Clients: standardClients, Limit: int64(r.Objects),
	}
	outcome, err := slice.Run(ctx)
	if err != nil {
		return err
	}
	if failed := outcome.Failures(); failed > 0 {
		return fmt.Errorf("%d of %d objects of %d bytes were not created: %v", failed, r.Objects, size, outcome.Failed)
	}
	s.filled[size] = outcome.Made
	r.logf("%s holds %d objects of %d bytes, made in %s", s.Name, len(outcome.Made), size, outcome.Elapsed.Round(100*time.Millisecond))
	return nil
}

// check compares what this program counted with what the servers have.
func (r *Run) check(ctx context.Context) error {
	for _, name := range r.Sides {
		s := r.sides[name]
		for _, size := range r.Sizes {
			for namespace, want := range map[string]int64{stock(size): int64(len(s.filled[size])), churn(size): int64(len(s.churn))} {
				stored, err := load.Count(ctx, s.Address, s.Client, s.kind, namespace)
				if err != nil {
					return err
				}
				if stored.Objects != want {
					return fmt.Errorf("%s has %d objects in %s, and this program counted %d", name, stored.Objects, namespace, want)
				}
			}
		}
	}
	r.Report.Checks = append(r.Report.Checks, "at the end each server had as many objects as this program had made and not deleted")
	return nil
}

// grown is what each object has cost.
func grown(before, after measure.Settled, objects int) report.SideGrowth {
	n := float64(objects)
	return report.SideGrowth{
		Resident: float64(after.Server.Resident-before.Server.Resident) / n, Live: (after.Live - before.Live) / n,
		Etcd: float64(after.Etcd.Resident-before.Etcd.Resident) / n,
	}
}
