// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"sync/atomic"
	"testing"
)

// BenchmarkRecord writes records from so many callers at once, one or a hundred a call. records/write tells how many share
// one write and one fsync.
func BenchmarkRecord(b *testing.B) {
	for _, mode := range []Fsync{FsyncAlways, FsyncNever} {
		for _, batch := range []int{1, 100} {
			for _, callers := range []int{1, 16, 128} {
				b.Run(fmt.Sprintf("fsync=%s/batch=%d/callers=%d", mode, batch, callers), func(b *testing.B) {
					benchmarkRecord(b, mode, batch, callers)
				})
			}
		}
	}
}

func benchmarkRecord(b *testing.B, mode Fsync, batch, callers int) {
	c := testConfig(b)
	c.Fsync = mode
	c.MaxBackups = 1
	l := mustOpen(b, c)
	records := make([]Record, batch)
	for i := range records {
		records[i] = allowed(fmt.Sprintf("api-key-%d", i))
	}
	var failed atomic.Int64
	b.SetParallelism(max(1, callers/2)) // times GOMAXPROCS
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if l.Record(b.Context(), records...) != nil {
				failed.Add(1)
			}
		}
	})
	b.StopTimer()
	if failed.Load() > 0 {
		b.Fatalf("%d calls failed", failed.Load())
	}
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "records/s")
	mustClose(b, l)
}

func BenchmarkVerify(b *testing.B) {
	c := testConfig(b)
	c.Fsync = FsyncNever
	l := mustOpen(b, c)
	records := make([]Record, 1000)
	for i := range records {
		records[i] = allowed(fmt.Sprintf("api-key-%d", i))
	}
	for range 50 {
		mustRecord(b, l, records...)
	}
	mustClose(b, l)
	b.SetBytes(int64(len(read(b, c.Path))))
	for b.Loop() {
		mustVerify(b, c)
	}
}
