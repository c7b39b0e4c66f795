// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"math"

	"github.com/securevalue/secret-apiserver/hack/bench/load"
	"github.com/securevalue/secret-apiserver/hack/bench/world"
)

// aimClients is the load that the aims are about; lists are by one client.
const aimClients = 16

// Aim is a ratio ours ÷ core that is wanted.
type Aim struct {
	Op     string  `json:"op"`
	Size   int     `json:"valueBytes"`
	Metric string  `json:"metric"`
	Limit  float64 `json:"limit"`
	// AtLeast says that more is better.
	AtLeast bool `json:"atLeast"`
}

// The metrics of aims.
const (
	throughput = "throughput"
	cpuPerOp   = "CPU per operation"
	listTime   = "time"
	listBytes  = "bytes"
	memory     = "memory per object"
)

// aims are what was asked for.
var aims = []Aim{
	{"create", 256, throughput, 1.5, true}, {"create", 256, cpuPerOp, 0.65, false},
	{"create", 8192, throughput, 1.7, true}, {"create", 8192, cpuPerOp, 0.6, false},
	{"get", 256, throughput, 1.5, true}, {"get", 256, cpuPerOp, 0.65, false},
	{"get", 8192, throughput, 2, true}, {"get", 8192, cpuPerOp, 0.5, false},
	{"update", 256, throughput, 1.4, true}, {"update", 256, cpuPerOp, 0.7, false},
	{"update", 8192, throughput, 1.6, true}, {"update", 8192, cpuPerOp, 0.6, false},
	{"patch", 256, throughput, 1.4, true}, {"patch", 256, cpuPerOp, 0.7, false},
	{"patch", 8192, throughput, 2.5, true}, {"patch", 8192, cpuPerOp, 0.4, false},
	{"list", 256, listTime, 0.6, false}, {"list", 256, listBytes, 0.9, false},
	{"list", 8192, listTime, 0.06, false}, {"list", 8192, listBytes, 0.06, false},
	{"growth", 256, memory, 0.7, false}, {"growth", 8192, memory, 0.2, false},
}

// Verdict is what became of an aim. Measured is NaN when the run did not measure it, and -1 in JSON.
type Verdict struct {
	Aim

	Measured float64 `json:"measured"`
	Verdict  string  `json:"verdict"`
}

// The verdicts.
const (
	Reached     = "reached"
	Missed      = "missed"
	NotMeasured = "not measured"
)

// Judge compares the run with the aims.
func (r *Report) Judge() {
	r.Aims = nil
	for _, aim := range aims {
		v := Verdict{Aim: aim, Measured: r.measured(aim), Verdict: Missed}
		switch {
		case math.IsNaN(v.Measured):
			v.Measured, v.Verdict = -1, NotMeasured
		case aim.AtLeast && v.Measured >= aim.Limit, !aim.AtLeast && v.Measured <= aim.Limit:
			v.Verdict = Reached
		}
		r.Aims = append(r.Aims, v)
	}
}

func (r *Report) measured(aim Aim) float64 {
	if aim.Metric == memory {
		return r.growthRatio(aim.Size, func(g SideGrowth) float64 { return g.Resident })
	}
	clients := aimClients
	if aim.Op == string(load.List) {
		clients = 1
	}
	for _, c := range r.Cells {
		if c.Op != aim.Op || c.Size != aim.Size || c.Clients != clients || c.Mode != Closed || c.Encoding != load.Protobuf || c.Audit {
			continue
		}
		against, ok := c.Against[world.Ours]
		if !ok {
			continue
		}
		switch aim.Metric {
		case throughput:
			return against.PerSecond
		case cpuPerOp:
			return against.CPU
		case listTime:
			return 1 / against.PerSecond
		case listBytes:
			return against.Bytes
		}
	}
	return math.NaN()
}

func (r *Report) growthRatio(size int, of func(SideGrowth) float64) float64 {
	for _, g := range r.Growth {
		core, ok := g.Sides[world.Core]
		ours, also := g.Sides[world.Ours]
		if g.Size == size && ok && also && of(core) > 0 {
			return of(ours) / of(core)
		}
	}
	return math.NaN()
}

// bound is the limit of an aim as text.
func (a Aim) bound() string {
	if a.AtLeast {
		return fmt.Sprintf("≥ %.2f", a.Limit)
	}
	return fmt.Sprintf("≤ %.2f", a.Limit)
}
