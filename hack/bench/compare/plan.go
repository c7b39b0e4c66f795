// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"slices"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/load"
	"github.com/securevalue/secret-apiserver/hack/bench/report"
	"github.com/securevalue/secret-apiserver/hack/bench/world"
)

// The load that the aims of package report are about.
const standardClients = 16

// watchRounds bounds the rounds of a watch, whose length is a number of events and not a time.
const watchRounds = 3

// Options say how much of the comparison is run.
type Options struct {
	Sides   []string
	Ops     []string
	Sizes   []int
	Clients []int
	// Objects is how many each namespace holds.
	Objects int
	// Rounds is how often each side has its turn in a cell, Slice how long a turn is.
	Rounds int
	Slice  time.Duration
	// Extras adds open loops at 80 %, JSON and audited rows.
	Extras bool
	// Watchers are the numbers of watchers.
	Watchers []int
	// Gzip asks for compressed lists, as client-go does.
	Gzip bool
	// Budget is when no further cell is started. What is left out then is named in the report.
	Budget time.Duration
}

// Full is the whole comparison, of about 15 minutes.
func Full() Options {
	return Options{
		Sides: []string{world.Core, world.Ours, world.Embedded},
		Ops:   []string{"create", "get", "update", "patch", "delete", "list", "page", "watch"},
		Sizes: []int{256, 8192, 24576}, Clients: []int{1, 16, 64}, Objects: 3000, Rounds: 5, Slice: 600 * time.Millisecond,
		Extras: true, Watchers: []int{10, 100, 500}, Gzip: true, Budget: 18 * time.Minute,
	}
}

// Quick is what shows the aims, in less than 3 minutes.
func Quick() Options {
	o := Full()
	o.Sides, o.Sizes, o.Clients = []string{world.Core, world.Ours}, []int{256, 8192}, []int{standardClients}
	o.Rounds, o.Slice = 5, 400*time.Millisecond // many short turns: noise that lasts hits both sides
	o.Extras, o.Watchers, o.Budget = false, []int{100}, 160*time.Second
	return o
}

// cell is one of the plan.
type cell struct {
	*report.Cell

	sides []string
	rate  float64 // of an open loop: the part of the slower side's rate
}

// plan is what is run before the servers are restarted with audit. What the aims are about comes first.
func (o Options) plan() (cells []cell) {
	for _, size := range o.Sizes {
		for _, clients := range o.Clients {
			if size > 8192 && clients != standardClients && len(o.Clients) > 1 {
				continue // the largest values by the standard number of clients only, for lack of time
			}
			for _, op := range []load.Op{load.Create, load.Delete, load.Get, load.Update, load.Patch} {
				cells = append(cells, o.cell(op, size, clients, load.Protobuf, report.Closed, 0))
			}
		}
		cells = append(cells, o.cell(load.List, size, 1, load.Protobuf, report.Closed, 0), o.cell(load.Page, size, 1, load.Protobuf, report.Closed, 0))
	}
	for _, size := range o.Sizes {
		cells = append(cells, o.open(size)...)
		for _, watchers := range o.Watchers {
			if watchers <= 100 || size <= 8192 { // 500 clients that read 24 KiB each would measure the clients
				cells = append(cells, o.cell("watch", size, watchers, load.Protobuf, report.Watch, 0))
			}
		}
		if o.Extras {
			cells = append(cells, o.cell(load.Page, size, standardClients, load.Protobuf, report.Closed, 0))
			cells = append(cells, o.standard(size, load.JSON)...)
		}
	}
	return slices.DeleteFunc(cells, func(c cell) bool { return !slices.Contains(o.Ops, c.Op) })
}

// audited is what is run once the servers record each request.
func (o Options) audited() (cells []cell) {
	if !o.Extras {
		return nil
	}
	for _, size := range o.Sizes {
		for _, c := range o.standard(size, load.Protobuf) {
			c.Audit = true
			cells = append(cells, c)
		}
	}
	return slices.DeleteFunc(cells, func(c cell) bool { return !slices.Contains(o.Ops, c.Op) })
}

// standard are the five operations on one object, by the standard number of clients.
func (o Options) standard(size int, encoding load.Encoding) (cells []cell) {
	if size > 8192 {
		return nil
	}
	for _, op := range []load.Op{load.Create, load.Delete, load.Get, load.Update, load.Patch} {
		c := o.cell(op, size, standardClients, encoding, report.Closed, 0)
		c.sides = without(o.Sides, world.Embedded)
		cells = append(cells, c)
	}
	return cells
}

// open are the open loops, at a rate taken from the closed ones.
func (o Options) open(size int) (cells []cell) {
	for _, op := range []load.Op{load.Create, load.Get, load.Update, load.Patch} {
		switch {
		case o.Extras && size <= 8192:
			cells = append(cells, o.cell(op, size, 64, load.Protobuf, report.Open50, 0.5), o.cell(op, size, 64, load.Protobuf, report.Open80, 0.8))
		case !o.Extras && size == 256 && (op == load.Create || op == load.Get):
			cells = append(cells, o.cell(op, size, 64, load.Protobuf, report.Open50, 0.5))
		}
	}
	return cells
}

func (o Options) cell(op load.Op, size, clients int, encoding load.Encoding, mode string, rate float64) cell {
	sides := o.Sides
	if mode != report.Closed || clients != standardClients && op != load.List {
		sides = without(sides, world.Embedded)
	}
	return cell{sides: sides, rate: rate, Cell: report.NewCell(report.Cell{
		Op: string(op), Size: size, Clients: clients, Encoding: encoding, Mode: mode, Objects: o.Objects,
	})}
}

// without keeps a run of one side: what is asked for alone is measured.
func without(sides []string, name string) []string {
	rest := slices.DeleteFunc(slices.Clone(sides), func(s string) bool { return s == name })
	if len(rest) == 0 {
		return sides
	}
	return rest
}
