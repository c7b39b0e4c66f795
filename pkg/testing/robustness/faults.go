// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// fault breaks something, and returns what heals it.
type fault struct {
	name   string
	inject func(t *testing.T, e *environment, random *rand.Rand) (heal func())
}

// controlTimeout bounds a call to etcd that injects a fault.
const controlTimeout = 3 * time.Second

// faults are all that can happen.
var faults = []fault{
	{"kill a server", func(t *testing.T, e *environment, random *rand.Rand) func() {
		r := e.servers[random.IntN(replicas)]
		r.get().Kill()
		return func() { r.start(t) }
	}},
	{"stop a server", func(t *testing.T, e *environment, random *rand.Rand) func() {
		s := e.servers[random.IntN(replicas)].get()
		s.Signal(t, syscall.SIGSTOP)
		return func() { s.Signal(t, syscall.SIGCONT) }
	}},
	{"kill an etcd member", func(t *testing.T, e *environment, random *rand.Rand) func() {
		m := e.etcd.Members[random.IntN(members)]
		m.Kill()
		return func() { m.Start(t) }
	}},
	{"stop an etcd member", func(t *testing.T, e *environment, random *rand.Rand) func() {
		m := e.etcd.Members[random.IntN(members)]
		if err := m.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		return func() { _ = m.Signal(syscall.SIGCONT) }
	}},
	{"cut a server off from etcd", func(_ *testing.T, e *environment, random *rand.Rand) func() {
		ways := e.proxies[random.IntN(replicas)]
		return each(ways[:], func(p *proxy) { p.sever(true) }, func(p *proxy) { p.sever(false) })
	}},
	{"cut a server off from one member", func(_ *testing.T, e *environment, random *rand.Rand) func() {
		way := e.proxies[random.IntN(replicas)][random.IntN(members)]
		return each([]*proxy{way}, func(p *proxy) { p.sever(true) }, func(p *proxy) { p.sever(false) })
	}},
	{"delay between a server and etcd", func(_ *testing.T, e *environment, random *rand.Rand) func() {
		ways := e.proxies[random.IntN(replicas)]
		delay := time.Duration(5+random.IntN(100)) * time.Millisecond
		return each(ways[:], func(p *proxy) { p.slow(delay) }, func(p *proxy) { p.slow(0) })
	}},
	{"rotate the key", func(t *testing.T, e *environment, _ *rand.Rand) func() {
		e.rotate(t)
		return func() {}
	}},
	{"compact etcd", func(t *testing.T, e *environment, _ *rand.Rand) func() {
		ctx, cancel := context.WithTimeout(t.Context(), controlTimeout)
		defer cancel()
		client := e.etcd.Client(t)
		defer func() { _ = client.Close() }()
		if got, err := client.Get(ctx, "/"); err == nil {
			_, _ = client.Compact(ctx, got.Header.Revision) // somebody may have been quicker
		}
		return func() {}
	}},
	{"move the leader", func(t *testing.T, e *environment, random *rand.Rand) func() {
		ctx, cancel := context.WithTimeout(t.Context(), controlTimeout)
		defer cancel()
		_ = e.etcd.MoveLeader(ctx, t, random.IntN(members)) // an election may be under way
		return func() {}
	}},
}

func each(ways []*proxy, inject, heal func(*proxy)) func() {
	for _, way := range ways {
		inject(way)
	}
	return func() {
		for _, way := range ways {
			heal(way)
		}
	}
}

// breakThings injects one fault after the other until ctx ends, every one of them once before any comes again, and returns
// what it did. All is healed then.
func breakThings(ctx context.Context, t *testing.T, e *environment, seed uint64) []string {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1<<32)) //nolint:gosec // repeatable on purpose
	var done []string
	for start := time.Now(); ; {
		for _, i := range random.Perm(len(faults)) {
			calm, held := time.Duration(200+random.IntN(500))*time.Millisecond, time.Duration(200+random.IntN(1300))*time.Millisecond
			if !wait(ctx, calm) {
				return done
			}
			done = append(done, fmt.Sprintf("%6.2fs %s for %s", time.Since(start).Seconds(), faults[i].name, held))
			heal := faults[i].inject(t, e, random)
			wait(ctx, held)
			heal()
		}
	}
}

// wait reports false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
