// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/load"
	"github.com/securevalue/secret-apiserver/hack/bench/measure"
	"github.com/securevalue/secret-apiserver/hack/bench/world"
)

// Report is a whole run.
type Report struct {
	Header

	// Settings are what the sides share and where they differ.
	Settings map[string]string `json:"settings"`
	Cells    []*Cell           `json:"cells"`
	Growth   []Growth          `json:"growth"`
	Checks   []string          `json:"checks"`
	Aims     []Verdict         `json:"aims"`
}

// The ways to make load.
const (
	Closed = "closed"
	Open50 = "open 50 %"
	Open80 = "open 80 %"
	Watch  = "watch"
)

// Cell is one operation under one load, on every side.
type Cell struct {
	Op       string        `json:"op"`
	Size     int           `json:"valueBytes"`
	Clients  int           `json:"clients"`
	Encoding load.Encoding `json:"encoding"`
	Mode     string        `json:"mode"`
	Audit    bool          `json:"audit"`
	// Objects is how many there are in the namespace.
	Objects int              `json:"objects"`
	Sides   map[string]*Side `json:"sides"`
	// Against are ratios of a side to core.
	Against map[string]Ratios `json:"ratios"`
}

// Side is what was measured on one side, round by round.
type Side struct {
	Rounds []Round `json:"rounds"`
	// Figures are medians of the rounds, but for the latencies, which are of all rounds together.
	Figures

	P999 float64 `json:"p999Millis"`
	Max  float64 `json:"maxMillis"`
	// Requests were sent, of which Failed by reason and Slow, those of a second or more.
	Requests int64            `json:"requests"`
	Failed   map[string]int64 `json:"failed"`
	Slow     int64            `json:"slow"`
	// Resident is the memory of the server at the end, ResidentEtcd that of its etcd, in bytes.
	Resident     int64 `json:"residentBytes"`
	ResidentEtcd int64 `json:"residentEtcdBytes"`

	recorder *measure.Recorder
}

// Figures are what rounds and sides have in common.
type Figures struct {
	PerSecond float64 `json:"perSecond"`
	// CPU is in microseconds for each operation that succeeded.
	CPU       float64 `json:"cpuMicros"`
	ServerCPU float64 `json:"serverCpuMicros"`
	EtcdCPU   float64 `json:"etcdCpuMicros"`
	ClientCPU float64 `json:"clientCpuMicros"`
	// Bytes are those on the wire for each operation, both directions.
	Bytes float64 `json:"bytesPerOp"`
	// Latencies are in milliseconds, failed requests included.
	P50 float64 `json:"p50Millis"`
	P99 float64 `json:"p99Millis"`
}

// Round is one slice of one side.
type Round struct {
	Figures

	Seconds float64 `json:"seconds"`
	OK      int64   `json:"ok"`
	// OfferedPerSecond is the rate of an open loop.
	OfferedPerSecond float64 `json:"offeredPerSecond,omitempty"`
}

// MarshalJSON keeps four digits: there are many rounds, and none is more exact than that.
func (r Round) MarshalJSON() ([]byte, error) {
	type plain Round
	p := plain(r)
	for _, f := range []*float64{
		&p.Seconds, &p.PerSecond, &p.CPU, &p.ServerCPU, &p.EtcdCPU, &p.ClientCPU, &p.Bytes, &p.P50, &p.P99, &p.OfferedPerSecond,
	} {
		if *f != 0 {
			scale := math.Pow10(3 - int(math.Floor(math.Log10(math.Abs(*f)))))
			*f = math.Round(*f*scale) / scale
		}
	}
	return json.Marshal(p)
}

// Ratios are medians over the rounds of side ÷ core, each of two slices that ran next to each other. One is NaN, and
// null in JSON, when no round had a figure on both sides.
type Ratios struct {
	PerSecond, CPU, Bytes, P50, P99 float64
}

// MarshalJSON is needed since JSON has no NaN.
func (r Ratios) MarshalJSON() ([]byte, error) {
	figures := map[string]*float64{"perSecond": &r.PerSecond, "cpu": &r.CPU, "bytes": &r.Bytes, "p50": &r.P50, "p99": &r.P99}
	for name, figure := range figures {
		if math.IsNaN(*figure) {
			figures[name] = nil
		}
	}
	return json.Marshal(figures)
}

// Growth is what the objects of a namespace cost in memory.
type Growth struct {
	Size    int                   `json:"valueBytes"`
	Objects int                   `json:"objects"`
	Sides   map[string]SideGrowth `json:"sides"`
}

// SideGrowth is that of one side, in bytes for each object. Resident is of the server, by the kernel; Live is its heap
// after a collection, by its metrics; Etcd is the resident memory of the etcd process.
type SideGrowth struct {
	Resident float64 `json:"resident"`
	Live     float64 `json:"live"`
	Etcd     float64 `json:"etcd"`
}

// NewCell returns one without rounds.
func NewCell(c Cell) *Cell {
	c.Sides, c.Against = map[string]*Side{}, map[string]Ratios{}
	return &c
}

// Add adds a round of a side.
func (c *Cell) Add(side string, round Round, recorder *measure.Recorder) {
	s := c.Sides[side]
	if s == nil {
		s = &Side{recorder: measure.NewRecorder()}
		c.Sides[side] = s
	}
	round.P50, round.P99 = millis(recorder.Quantile(50)), millis(recorder.Quantile(99))
	s.Rounds = append(s.Rounds, round)
	s.recorder.Merge(recorder)
}

// Finish computes the sums of the rounds.
func (c *Cell) Finish() {
	for _, s := range c.Sides {
		s.PerSecond, s.CPU = s.median(perSecond), s.median(cpu)
		s.ServerCPU = s.median(func(r Round) float64 { return r.ServerCPU })
		s.EtcdCPU = s.median(func(r Round) float64 { return r.EtcdCPU })
		s.ClientCPU = s.median(func(r Round) float64 { return r.ClientCPU })
		s.Bytes = s.median(wireBytes)
		r := s.recorder
		s.P50, s.P99, s.P999, s.Max = millis(r.Quantile(50)), millis(r.Quantile(99)), millis(r.Quantile(99.9)), millis(r.Max())
		s.Requests, s.Failed, s.Slow = r.Total(), maps.Clone(r.Failed), r.Slow
	}
	core := c.Sides[world.Core]
	if core == nil {
		return
	}
	for name, s := range c.Sides {
		if name != world.Core {
			c.Against[name] = Ratios{
				PerSecond: ratio(s, core, perSecond), CPU: ratio(s, core, cpu), Bytes: ratio(s, core, wireBytes),
				P50: ratio(s, core, func(r Round) float64 { return r.P50 }), P99: ratio(s, core, func(r Round) float64 { return r.P99 }),
			}
		}
	}
}

func perSecond(r Round) float64 { return r.PerSecond }
func cpu(r Round) float64       { return r.CPU }
func wireBytes(r Round) float64 { return r.Bytes }

func (s *Side) figures(of func(Round) float64) []float64 {
	all := make([]float64, len(s.Rounds))
	for i, round := range s.Rounds {
		all[i] = of(round)
	}
	return all
}

func (s *Side) median(of func(Round) float64) float64 { return measure.Median(s.figures(of)) }

func ratio(ours, theirs *Side, of func(Round) float64) float64 {
	return measure.Ratio(ours.figures(of), theirs.figures(of))
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// sideNames are those of a cell, core first.
func (c *Cell) sideNames() []string {
	var names []string
	for _, name := range []string{world.Core, world.Ours, world.Embedded} {
		if c.Sides[name] != nil {
			names = append(names, name)
		}
	}
	return names
}

// failures are all that failed in a run.
func (r *Report) failures() (n int64) {
	for _, c := range r.Cells {
		for s := range maps.Values(c.Sides) {
			for _, count := range slices.Collect(maps.Values(s.Failed)) {
				n += count
			}
		}
	}
	return n
}
