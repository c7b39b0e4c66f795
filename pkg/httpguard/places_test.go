// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/component-base/metrics/legacyregistry"
)

// descend uses about half a KB of the stack for each call.
//
//go:noinline
func descend(calls int) {
	var room [512]byte
	if calls > 0 {
		descend(calls - 1)
	}
	runtime.KeepAlive(&room)
}

// moved says whether the stack of a new goroutine is copied while calls descend that fit into stackBytes.
func moved(prepare func()) bool {
	result := make(chan bool)
	go func() {
		prepare()
		var here byte
		before := uintptr(unsafe.Pointer(&here)) //nolint:gosec // only compared
		descend(stackBytes / 1024)
		result <- uintptr(unsafe.Pointer(&here)) != before //nolint:gosec // as above
	}()
	return <-result
}

func TestGrowStack(t *testing.T) {
	if !moved(func() {}) {
		t.Error("the stack of a goroutine is large enough as it is: GrowStack is not needed any more")
	}
	if moved(GrowStack) {
		t.Error("the stack was copied after GrowStack")
	}
}

func BenchmarkGoroutine(b *testing.B) {
	for name, prepare := range map[string]func(){"as it is": func() {}, "grown": GrowStack} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				moved(prepare)
			}
		})
	}
}

// fill takes units until the caller gets no more, and returns how many it got.
func takeAll(p *Pool, caller Caller) (got int) {
	for p.Take(caller, 1) {
		got++
	}
	return got
}

// One caller has a quarter, and at least one, however many it asks for.
func TestPoolGivesAQuarter(t *testing.T) {
	for size, want := range map[int64]int{1: 1, 2: 1, 3: 1, 4: 1, 7: 1, 8: 2, 16: 4, 200: 50, 400: 100} {
		p := NewPool("test", size)
		if got := takeAll(p, User("flood")); got != want {
			t.Errorf("of %d: %d, want %d", size, got, want)
		}
		if size > 1 && !p.Take(User("other"), 1) {
			t.Errorf("of %d: nothing is left for another", size)
		}
	}
}

// Callers that flood together leave something, more of it the longer they do: what one of them returns is shared out
// again.
func TestPoolLeavesSomething(t *testing.T) {
	const size, callers = 400, 40
	p := NewPool("test", size)
	held := map[Caller]int{}
	for range 50 {
		for n := range callers {
			caller := User(fmt.Sprint(n))
			p.Return(caller, int64(held[caller]))
			held[caller] = takeAll(p, caller)
		}
	}
	for caller, n := range held {
		if n < 1 || n > size/callers {
			t.Errorf("%v holds %d", caller, n)
		}
	}
	if got := takeAll(p, User("new")); got < size/(callers+3)/2 {
		t.Errorf("somebody new gets %d", got)
	}
}

// A first request may be large, and no request gets what is not there.
func TestPoolBytes(t *testing.T) {
	p := NewPool("test", 100)
	if !p.Take(User("a"), 90) {
		t.Error("the first was refused although it fits")
	}
	if p.Take(User("b"), 11) || p.Take(User("a"), 1) {
		t.Error("more than there is, or than the share, was given")
	}
	p.Return(User("a"), 90)
	if !p.Take(User("a"), 100) {
		t.Error("what was returned is not there")
	}
}

func TestPoolWithoutLimit(t *testing.T) {
	p := NewPool("test", 0)
	for range 1000 {
		if !p.Offers(User("a")) || !p.Take(User("a"), 1<<40) {
			t.Fatal("refused")
		}
	}
	p.Return(User("a"), 1)
	if p.Peak() != 0 {
		t.Error("it counts")
	}
}

// Peak is of the time since the last call, and begins with what is held then.
func TestPoolPeak(t *testing.T) {
	p := NewPool("test", 100)
	p.Take(User("a"), 1)
	p.Take(User("b"), 7)
	p.Return(User("b"), 7)
	for _, want := range []int64{8, 1} {
		if got := p.Peak(); got != want {
			t.Errorf("peak %d, want %d", got, want)
		}
	}
}

// Concurrent callers never have more than the pool, and everything comes back.
func TestPoolConcurrently(t *testing.T) {
	const size = 16
	p := NewPool("test", size)
	var used atomic.Int64
	var group sync.WaitGroup
	for n := range 32 {
		caller := User(fmt.Sprint(n % 8))
		group.Go(func() {
			for range 2000 {
				if !p.Take(caller, 1) {
					continue
				}
				if used.Add(1) > size {
					t.Error("more were given than there are")
				}
				used.Add(-1)
				p.Return(caller, 1)
			}
		})
	}
	group.Wait()
	if p.used != 0 || len(p.held) != 0 {
		t.Errorf("%d are held by %v", p.used, p.held)
	}
}

func TestCallers(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1", "192.0.2.1:2", true},
		{"192.0.2.1:1", "192.0.2.1", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"[2001:db8::1]:1", "[2001:db8::2]:1", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", true},
		{"pipe", "@", true},
	} {
		if got := Peer(test.a) == Peer(test.b); got != test.same {
			t.Errorf("%s and %s: the same %v, want %v", test.a, test.b, got, test.same)
		}
	}
	if User("192.0.2.1") == Peer("192.0.2.1") {
		t.Error("a user can be named like a peer")
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	as := func(name string) Caller {
		return CallerOf(r.WithContext(request.WithUser(r.Context(), &user.DefaultInfo{Name: name})))
	}
	if as("ann") != User("ann") || CallerOf(r) != Peer(r.RemoteAddr) || as(user.Anonymous) != Peer(r.RemoteAddr) {
		t.Error("who calls is not the user, or the peer before there is one")
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	p := NewPool("counted", 4)
	before := refusals(t, "counted")
	takeAll(p, User("a")) // ends with a refusal of the share
	for n := range 4 {
		p.Take(User(fmt.Sprint(n)), 1) // and these with one of the pool
	}
	after := refusals(t, "counted")
	if after[reasonFull]-before[reasonFull] != 1 || after[reasonShare]-before[reasonShare] != 1 {
		t.Errorf("%v, then %v", before, after)
	}
}

// refusals are those of a pool as /metrics has them, by reason.
func refusals(t *testing.T, pool string) map[string]float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "secret_inflight_refused_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == pool {
				got[metric.GetLabel()[1].GetValue()] = metric.GetCounter().GetValue()
			}
		}
	}
	return got
}

// BenchmarkTake shows that the hot path allocates nothing: one request of one of a hundred callers.
func BenchmarkTake(b *testing.B) {
	p := NewPool("bench", 400)
	names := make([]Caller, 100)
	for n := range names {
		names[n] = User(fmt.Sprint("system:serviceaccount:namespace:", n))
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n++ {
			caller := names[n%len(names)]
			if p.Offers(caller) && p.Take(caller, 1) {
				p.Return(caller, 1)
			}
		}
	})
}

// BenchmarkPeer is what a request with a token costs before it is authenticated.
func BenchmarkPeer(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Peer("192.0.2.1:50000")
	}
}
