// SPDX-License-Identifier: Apache-2.0

package report

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"slices"
	"text/template"

	"github.com/securevalue/secret-apiserver/hack/bench/world"
)

//go:embed plot.svg.tmpl
var plotText string

var plotTemplate = template.Must(template.New("plot").Parse(plotText))

// The plot is in pixels; its scale is logarithmic, from 1/plotSpan to plotSpan.
const (
	plotLabels = 170 // where the scale starts
	plotWidth  = 560
	plotTop    = 64
	rowHeight  = 34
	barHeight  = 12
	barMargin  = 4
	plotSpan   = 32.0
)

type plotBar struct {
	Y        int
	X, Width float64
	Text     string
	TextX    float64
	Aim      float64 // where the aim is; 0 without one
	Good     bool
}

type plotRow struct {
	Y     int // of the label
	Label string
	Bars  []plotBar
}

type plotTick struct {
	X    float64
	Text string
}

// Plot writes the ratios of the closed loops at the load that the aims are about as SVG.
func (r *Report) Plot(w io.Writer) error {
	var rows []plotRow
	for _, c := range r.Cells {
		against, ok := c.Against[world.Ours]
		standard := c.Clients == aimClients && c.Op != "page" || c.Op == "list" || c.Op == "page" && c.Clients == 1
		if !ok || c.Mode != Closed || c.Encoding != "protobuf" || c.Audit || !standard {
			continue
		}
		y := plotTop + rowHeight*len(rows)
		rows = append(rows, plotRow{Y: y + rowHeight/2, Label: c.Op + " " + sizeText(c.Size), Bars: []plotBar{
			bar(y+barMargin, against.PerSecond, limit(c, throughput)), bar(y+barMargin+barHeight+2, against.CPU, limit(c, cpuPerOp)),
		}})
	}
	var ticks []plotTick
	for power := -5; power <= 5; power++ {
		ticks = append(ticks, plotTick{X: plotX(math.Pow(2, float64(power))), Text: fmt.Sprintf("× %g", math.Pow(2, float64(power)))})
	}
	bottom := plotTop + rowHeight*len(rows)
	return plotTemplate.Execute(w, map[string]any{
		"Rows": rows, "BarHeight": barHeight, "Ticks": ticks, "One": plotX(1), "Top": plotTop - 8, "Bottom": bottom, "Height": bottom + 24,
		"Width": plotLabels + plotWidth + 60, "Command": r.Command, "Started": r.Started.UTC().Format("2006-01-02 15:04 UTC"),
	})
}

func plotX(ratio float64) float64 {
	ratio = min(max(ratio, 1/plotSpan), plotSpan)
	return plotLabels + plotWidth*(math.Log2(ratio)/math.Log2(plotSpan)+1)/2
}

// bar goes from 1 to the ratio, to the left of it when it is lower.
func bar(y int, ratio float64, aim *Aim) plotBar {
	if math.IsNaN(ratio) || ratio <= 0 {
		return plotBar{Y: y, X: plotX(1), TextX: plotX(1) + 4, Text: "no figure"}
	}
	from, to := min(plotX(1), plotX(ratio)), max(plotX(1), plotX(ratio))
	b := plotBar{Y: y, X: from, Width: to - from, Text: figure(ratio), TextX: to + 4, Good: true}
	if aim != nil {
		b.Aim = plotX(aim.Limit)
		b.Good = aim.AtLeast && ratio >= aim.Limit || !aim.AtLeast && ratio <= aim.Limit
	}
	return b
}

// limit is the aim of a cell, nil without one.
func limit(c *Cell, metric string) *Aim {
	at := slices.IndexFunc(aims, func(a Aim) bool { return a.Op == c.Op && a.Size == c.Size && a.Metric == metric })
	if at < 0 {
		return nil
	}
	return &aims[at]
}
