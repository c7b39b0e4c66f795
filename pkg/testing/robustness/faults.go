// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"context"
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// fault breaks something.
type fault struct {
	name   string
	inject func(t *testing.T, e *environment, random *rand.Rand) injection
}

// injection is a fault in force.
type injection struct {
	// effect says whether the fault shows; nil when it is sure to.
	effect func() bool
	// heal ends it; nil when nothing is to be done.
	heal func()
}

// Injected is a fault that was injected, for the report.
type Injected struct {
	Name string `json:"name"`
	// At is when, in seconds since the start; Held is how long it was to be in force.
	At   float64 `json:"at"`
	Held string  `json:"held"`
	// Effect says whether it showed.
	Effect bool `json:"effect"`
}

// controlTimeout bounds a call to etcd that injects a fault.
const controlTimeout = 3 * time.Second

// allFaults are all that can happen.
var allFaults = slices.Concat(processFaults, keyFaults, retireFaults, diskFaults, clockFaults)

// only is -fault: the names of the faults to inject match it.
var only = regexp.MustCompile("")

// possible says whether a fault can be injected here.
func (e *environment) possible(f fault) bool {
	if !only.MatchString(f.name) {
		return false
	}
	switch f.name {
	case diskFaults[0].name:
		return e.etcd.Members[members-1].Disk != nil
	case clockFaults[0].name:
		return e.servers[0].clock != nil
	}
	return true
}

// possibleFaults are all but those that this machine or this run does not allow.
func possibleFaults(e *environment) []fault {
	return slices.DeleteFunc(slices.Clone(allFaults), func(f fault) bool { return !e.possible(f) })
}

// processFaults concern processes, and the ways between them.
var processFaults = []fault{
	{"kill a server", func(t *testing.T, e *environment, random *rand.Rand) injection {
		r := e.servers[random.IntN(replicas)]
		r.get().Kill()
		return injection{heal: func() { r.start(t) }}
	}},
	{"stop a server", func(t *testing.T, e *environment, random *rand.Rand) injection {
		s := e.servers[random.IntN(replicas)].get()
		s.Signal(t, syscall.SIGSTOP)
		return injection{heal: func() { s.Signal(t, syscall.SIGCONT) }}
	}},
	{"kill an etcd member", func(t *testing.T, e *environment, random *rand.Rand) injection {
		m := e.etcd.Members[random.IntN(members)]
		m.Kill()
		return injection{heal: func() { m.Start(t) }}
	}},
	{"stop an etcd member", func(t *testing.T, e *environment, random *rand.Rand) injection {
		m := e.etcd.Members[random.IntN(members)]
		if err := m.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		return injection{heal: func() { _ = m.Signal(syscall.SIGCONT) }}
	}},
	{"cut a server off from etcd", func(_ *testing.T, e *environment, random *rand.Rand) injection {
		ways := e.proxies[random.IntN(replicas)]
		return each(ways[:], func(p *proxy) { p.sever(true) }, func(p *proxy) { p.sever(false) })
	}},
	{"cut a server off from one member", func(_ *testing.T, e *environment, random *rand.Rand) injection {
		way := e.proxies[random.IntN(replicas)][random.IntN(members)]
		return each([]*proxy{way}, func(p *proxy) { p.sever(true) }, func(p *proxy) { p.sever(false) })
	}},
	{"delay between a server and etcd", func(_ *testing.T, e *environment, random *rand.Rand) injection {
		ways := e.proxies[random.IntN(replicas)]
		delay := time.Duration(5+random.IntN(100)) * time.Millisecond
		return each(ways[:], func(p *proxy) { p.slow(delay) }, func(p *proxy) { p.slow(0) })
	}},
	{"compact etcd", func(t *testing.T, e *environment, _ *rand.Rand) injection {
		return injection{effect: func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), controlTimeout)
			defer cancel()
			client := e.etcd.Client(t)
			defer func() { _ = client.Close() }()
			got, err := client.Get(ctx, "/")
			if err == nil {
				_, err = client.Compact(ctx, got.Header.Revision)
			}
			return err == nil || errors.Is(err, rpctypes.ErrCompacted) // somebody was quicker
		}}
	}},
	{"move the leader", func(t *testing.T, e *environment, random *rand.Rand) injection {
		by := 1 + random.IntN(members-1)
		return injection{effect: func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), controlTimeout)
			defer cancel()
			return e.etcd.MoveLeader(ctx, t, by) == nil // an election may be in progress
		}}
	}},
}

func each(ways []*proxy, inject, heal func(*proxy)) injection {
	for _, way := range ways {
		inject(way)
	}
	return injection{heal: func() {
		for _, way := range ways {
			heal(way)
		}
	}}
}

// breakThings injects one fault after the other until ctx ends, every one of them once before any comes again, and
// returns what it did. All is healed then. With wholeRound it goes on until each was there once.
func breakThings(ctx context.Context, t *testing.T, e *environment, seed uint64, wholeRound bool) []Injected {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1<<32)) //nolint:gosec // repeatable on purpose
	var done []Injected
	faults := possibleFaults(e)
	if len(faults) == 0 {
		t.Fatalf("no fault matches -fault=%s", only)
	}
	for start := time.Now(); ; {
		for _, i := range random.Perm(len(faults)) {
			calm, held := time.Duration(200+random.IntN(500))*time.Millisecond, time.Duration(200+random.IntN(1300))*time.Millisecond
			wait(ctx, calm)
			if ctx.Err() != nil && (!wholeRound || len(done) >= len(faults)) {
				return done
			}
			now := Injected{Name: faults[i].name, At: time.Since(start).Seconds(), Held: held.String()}
			in := faults[i].inject(t, e, random)
			wait(ctx, held)
			now.Effect = in.effect == nil || !t.Failed() && eventually(in.effect)
			if in.heal != nil {
				in.heal()
			}
			done = append(done, now)
			if t.Failed() {
				return done
			}
		}
	}
}

// wait waits, and not longer than ctx.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
