// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	clients = 6
	// namesPerEpoch are fought over by all clients at once. After opsPerEpoch of its operations a client goes on to the
	// next names, so that no name's history becomes too long to check.
	namesPerEpoch, opsPerEpoch = 4, 48
	// pause lies between two operations of a client.
	pause = 3 * time.Millisecond
)

func namesOf(epoch string) []string {
	var names []string
	for i := range namesPerEpoch {
		names = append(names, fmt.Sprintf("%s-%d", epoch, i))
	}
	return names
}

// choice is one operation of a client: all of it is drawn from the seed.
type choice struct {
	kind   Kind
	epoch  string
	name   string
	server int
	op     string
	value  string
}

// weights say how often each operation is chosen, of 100.
var weights = []struct {
	kind  Kind
	share int
}{{Create, 16}, {Replace, 9}, {Keep, 14}, {Label, 10}, {Value, 9}, {Delete, 6}, {Get, 12}, {Decrypt, 19}, {"list", 5}}

// choose draws the n-th operation of a client.
func choose(random *rand.Rand, id, n int) choice {
	epoch := fmt.Sprintf("e%d", n/opsPerEpoch)
	c := choice{
		epoch: epoch, name: namesOf(epoch)[random.IntN(namesPerEpoch)], server: random.IntN(replicas),
		op: fmt.Sprintf("c%d-%d", id, n), value: fmt.Sprintf("%s%016x-c%d-%d", canaryMark, random.Uint64(), id, n),
	}
	at := random.IntN(100)
	for _, weight := range weights {
		if at < weight.share {
			c.kind = weight.kind
			break
		}
		at -= weight.share
	}
	return c
}

// run works until ctx ends.
func (c *client) run(ctx context.Context, seed uint64) {
	random := rand.New(rand.NewPCG(seed, uint64(c.id))) //nolint:gosec // repeatable on purpose
	for n := 0; ctx.Err() == nil; n++ {
		c.perform(context.WithoutCancel(ctx), choose(random, c.id, n))
		time.Sleep(pause)
	}
}

func (c *client) perform(ctx context.Context, next choice) {
	if c.env.servers[next.server].away.Load() {
		next.server = replicas - 1 - next.server
	}
	in := Input{Kind: next.kind, Name: next.name}
	switch next.kind {
	case "list":
		c.list(ctx, next.server, next.epoch)
		return
	case Create, Replace, Value:
		in.Op, in.Value = next.op, next.value
	case Label:
		in.Op = next.op
	case Keep: // read-modify-write, as controllers do
		if !c.do(ctx, next.server, next.epoch, Input{Kind: Get, Name: next.name}) || c.seen[next.name] == 0 {
			return
		}
		in.Op, in.ResourceVersion = next.op, c.seen[next.name]
	case Delete, Get, Decrypt:
	}
	c.do(ctx, next.server, next.epoch, in)
}
