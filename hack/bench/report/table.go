// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/securevalue/secret-apiserver/hack/bench/world"
)

// Markdown is the run as the tables of docs/performance.
func (r *Report) Markdown() string {
	w := &strings.Builder{}
	r.print(w)
	r.aimTable(w)
	for _, mode := range []string{Closed, Open50, Open80, Watch} {
		r.cellTable(w, mode)
	}
	r.growthTable(w)
	for _, check := range r.Checks {
		fmt.Fprintf(w, "- %s\n", check)
	}
	fmt.Fprintf(w, "- %d requests failed in the whole run\n", r.failures())
	return w.String()
}

func (r *Report) aimTable(w *strings.Builder) {
	fmt.Fprint(w, "### Aims: ours ÷ core\n\n| operation | value | of | aim | measured | |\n|---|---|---|---|---|---|\n")
	for _, v := range r.Aims {
		measured := "–"
		if v.Verdict != NotMeasured {
			measured = figure(v.Measured)
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", v.Op, sizeText(v.Size), v.Metric, v.bound(), measured, v.Verdict)
	}
	fmt.Fprintln(w)
}

var titles = map[string]string{
	Closed: "Closed loop: throughput", Open50: "Open loop at 50 % of the slower side's rate: latency from when a request was due",
	Open80: "Open loop at 80 % of the slower side's rate: latency from when a request was due", Watch: "Watch: events to all watchers",
}

func (r *Report) cellTable(w *strings.Builder, mode string) {
	header := false
	for _, c := range r.Cells {
		if c.Mode != mode {
			continue
		}
		if !header {
			header = true
			fmt.Fprintf(w, "### %s\n\n", titles[mode])
			fmt.Fprint(w, "| operation | value | clients | side | per second | × | CPU µs (server + etcd) | × | client µs | p50 ms | p99 ms | p99.9 ms | "+
				"bytes | × | RSS MB (+ etcd) | failed | ≥ 1 s |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
		}
		for _, name := range c.sideNames() {
			c.row(w, name)
		}
	}
	if header {
		fmt.Fprintln(w)
	}
}

func (c *Cell) row(w *strings.Builder, name string) {
	s := c.Sides[name]
	rate, cpu, size := "", "", ""
	if against, ok := c.Against[name]; ok {
		rate, cpu, size = "**"+figure(against.PerSecond)+"**", "**"+figure(against.CPU)+"**", "**"+figure(against.Bytes)+"**"
	}
	fmt.Fprintf(w, "| %s | %s | %d | %s | %s | %s | %.0f (%.0f + %.0f) | %s | %.0f | %s | %s | %s | %.0f | %s | %d + %d | %s | %d |\n",
		c.title(), sizeText(c.Size), c.Clients, name, figure(s.PerSecond), rate, s.CPU, s.ServerCPU, s.EtcdCPU, cpu, s.ClientCPU,
		figure(s.P50), figure(s.P99), figure(s.P999), s.Bytes, size, s.Resident>>20, s.ResidentEtcd>>20, failed(s), s.Slow)
}

// title is the operation with what is unlike most cells.
func (c *Cell) title() string {
	title := c.Op
	if c.Encoding != "protobuf" {
		title += ", " + string(c.Encoding)
	}
	if c.Audit {
		title += ", audited"
	}
	return title
}

func (r *Report) growthTable(w *strings.Builder) {
	if len(r.Growth) == 0 {
		return
	}
	fmt.Fprint(w, "### Memory for each object, bytes\n\n| value | objects | side | server RSS | × | server live heap | × | etcd RSS |\n"+
		"|---|---|---|---|---|---|---|---|\n")
	for _, g := range r.Growth {
		for _, name := range []string{world.Core, world.Ours, world.Embedded} {
			s, ok := g.Sides[name]
			if !ok {
				continue
			}
			resident, live := "", ""
			if name == world.Ours {
				resident = "**" + figure(r.growthRatio(g.Size, func(g SideGrowth) float64 { return g.Resident })) + "**"
				live = "**" + figure(r.growthRatio(g.Size, func(g SideGrowth) float64 { return g.Live })) + "**"
			}
			fmt.Fprintf(w, "| %s | %d | %s | %.0f | %s | %.0f | %s | %.0f |\n",
				sizeText(g.Size), g.Objects, name, s.Resident, resident, s.Live, live, s.Etcd)
		}
	}
	fmt.Fprintln(w)
}

func failed(s *Side) string {
	if len(s.Failed) == 0 {
		return "0"
	}
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(s.Failed)) {
		parts = append(parts, fmt.Sprintf("%d × %s", s.Failed[reason], reason))
	}
	return strings.Join(parts, ", ")
}

// figure shows three digits that matter.
func figure(f float64) string {
	switch {
	case math.IsNaN(f):
		return "–"
	case math.Abs(f) >= 100:
		return fmt.Sprintf("%.0f", f)
	case math.Abs(f) >= 10:
		return fmt.Sprintf("%.1f", f)
	case math.Abs(f) >= 0.1 || f == 0:
		return fmt.Sprintf("%.2f", f)
	default:
		return fmt.Sprintf("%.3f", f)
	}
}

func sizeText(bytes int) string {
	if bytes >= 1024 && bytes%1024 == 0 {
		return fmt.Sprintf("%d KiB", bytes/1024)
	}
	return fmt.Sprintf("%d B", bytes)
}

// Line is a cell in one line, for the log of a run.
func (c *Cell) Line() string {
	line := &strings.Builder{}
	line.WriteString(c.Name() + ":")
	for _, name := range c.sideNames() {
		s := c.Sides[name]
		fmt.Fprintf(line, "  %s %s/s %.0f µs p99 %s ms", name, figure(s.PerSecond), s.CPU, figure(s.P99))
		if against, ok := c.Against[name]; ok {
			fmt.Fprintf(line, " (× %s, CPU × %s)", figure(against.PerSecond), figure(against.CPU))
		}
		if len(s.Failed) > 0 {
			line.WriteString(" FAILED " + failed(s))
		}
	}
	return line.String()
}

// Name tells a cell from the others.
func (c *Cell) Name() string {
	return fmt.Sprintf("%s %s, %d clients, %s", c.title(), sizeText(c.Size), c.Clients, c.Mode)
}
