// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// benchStart runs a server as in production: no verbose log, TLS, RBAC and the decrypt audit log on.
func benchStart(b *testing.B, args ...string) *harness.Server {
	b.Helper()
	s := start(b, append([]string{"-v=0", "--audit-log-path=", "--audit-policy-file="}, args...)...)
	for i := range 100 {
		s.Create(b, namespace, fmt.Sprintf("v%d", i), strings.Repeat("x", 256), "k6-cloud")
	}
	return s
}

// BenchmarkOpen measures opens by gRPC against the real binary on the same machine, client included: values a second,
// and the server's own CPU time for each value.
func BenchmarkOpen(b *testing.B) {
	for _, fsync := range []string{"always", "interval"} {
		for _, batch := range []int{1, 100} {
			b.Run(fmt.Sprintf("fsync=%s/batch=%d", fsync, batch), func(b *testing.B) { benchOpen(b, fsync, batch) })
		}
	}
}

func benchOpen(b *testing.B, fsync string, batch int) {
	s := benchStart(b, "--decrypt-audit-fsync="+fsync)
	names := make([]string, batch)
	for i := range names {
		names[i] = fmt.Sprintf("v%d", i)
	}
	conns := make([]*grpc.ClientConn, 4)
	for i := range conns {
		conns[i] = dial(b, s)
		if _, err := callGRPC(b.Context(), conns[i], nil, namespace, names...); err != nil {
			b.Fatal(err)
		}
	}
	before := cpuSeconds(b, s.PID())
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var group sync.WaitGroup
	for w := range 64 {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				got, err := callGRPC(b.Context(), conns[w%len(conns)], nil, namespace, names...)
				if err != nil || len(got) != batch || got["v0"].GetValue() == "" {
					b.Errorf("%d results, %v", len(got), err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	values := float64(b.N * batch)
	b.ReportMetric(values/b.Elapsed().Seconds(), "values/s")
	b.ReportMetric((cpuSeconds(b, s.PID())-before)/values*1e6, "server-cpu-us/value")
}

// cpuSeconds is the CPU time that a process has used, user and system, from /proc at 100 ticks a second.
func cpuSeconds(b *testing.B, pid int) float64 {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal("no /proc on this system")
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// BenchmarkDeniedVersusAbsent measures whether time tells a value that is not for the caller from one that is not
// there. Samples are drawn in random order; Welch's t beyond 4.5 would be evidence. Run it with -benchtime=20000x on a
// quiet machine.
func BenchmarkDeniedVersusAbsent(b *testing.B) {
	s := benchStart(b)
	s.Create(b, namespace, "there", strings.Repeat("x", 24576), "synthetic-monitoring")
	conn := dial(b, s)
	names := [2]string{"gones", "there"}
	var samples [2]sample
	for range b.N {
		for _, class := range rand.Perm(2) {
			began := time.Now()
			got, err := callGRPC(b.Context(), conn, nil, namespace, names[class])
			took := time.Since(began)
			if err != nil || got[names[class]].GetErrorMessage() != "not found" {
				b.Fatal(got, err)
			}
			samples[class].add(took.Seconds())
		}
	}
	b.ReportMetric(welch(&samples[0], &samples[1]), "welch-t")
	b.ReportMetric((samples[1].mean-samples[0].mean)*1e6, "difference-us")
}

// sample keeps mean and variance of what was measured (Welford).
type sample struct{ n, mean, squares float64 }

func (s *sample) add(x float64) {
	s.n++
	delta := x - s.mean
	s.mean += delta / s.n
	s.squares += delta * (x - s.mean)
}

func (s *sample) variance() float64 { return s.squares / (s.n - 1) }

// welch is the statistic of Welch's t-test.
func welch(a, b *sample) float64 {
	if a.n < 2 || b.n < 2 {
		return 0
	}
	return (a.mean - b.mean) / math.Sqrt(a.variance()/a.n+b.variance()/b.n)
}
