// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/klog/v2"
)

// BenchmarkRecord writes records from so many callers at once, one or a hundred a call. records/write tells how many
// share one write and one fsync.
func BenchmarkRecord(b *testing.B) {
	for _, mode := range []Fsync{FsyncAlways, FsyncNever} {
		for _, batch := range []int{1, 100} {
			for _, callers := range []int{2, 16, 128} {
				b.Run(fmt.Sprintf("fsync=%s/batch=%d/callers=%d", mode, batch, callers), func(b *testing.B) {
					benchmarkRecord(b, mode, batch, callers)
				})
			}
		}
	}
}

func benchmarkRecord(b *testing.B, mode Fsync, batch, callers int) {
	klog.SetLogger(logr.Discard()) // its lines would break those of the results
	b.Cleanup(klog.ClearLogger)
	c := testConfig(b)
	c.Fsync = mode
	c.MaxBackups = 1
	l := mustOpen(b, c)
	records := make([]Record, batch)
	for i := range records {
		records[i] = allowed(fmt.Sprintf("api-key-%d", i))
	}
	var failed atomic.Int64
	b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
	writes := commits(b)
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
	b.ReportMetric(float64(b.N*batch)/float64(commits(b)-writes), "records/write")
	mustClose(b, l)
}

// commits counts writes so far.
func commits(b *testing.B) uint64 {
	b.Helper()
	found, err := testutil.GetHistogramVecFromGatherer(legacyregistry.DefaultGatherer, metricPrefix+"group_size", nil)
	if err != nil {
		b.Fatal(err)
	}
	return found.GetAggregatedSampleCount()
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
