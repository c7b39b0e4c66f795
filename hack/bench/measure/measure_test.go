// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"errors"
	"math"
	"os"
	"testing"
	"time"
)

func TestRecorderCountsEverything(t *testing.T) {
	a, b := NewRecorder(), NewRecorder()
	for i := 1; i <= 990; i++ {
		a.Add(time.Duration(i)*time.Millisecond/10, 200, nil)
	}
	for range 6 {
		b.Add(2*time.Second, 201, nil)
	}
	b.Add(time.Millisecond, 429, nil)
	b.Add(time.Millisecond, 500, nil)
	b.Add(time.Hour, 0, errors.New("cut"))
	b.Add(0, 301, nil)
	b.Add(time.Millisecond, 0, nil) // an event that did not come
	a.Merge(b)
	if a.OK != 996 || a.Slow != 7 || a.Failures() != 5 || a.Total() != 1001 {
		t.Errorf("ok %d, slow %d, failed %v, total %d", a.OK, a.Slow, a.Failed, a.Total())
	}
	if a.Failed["no response"] != 2 {
		t.Errorf("no response: %d", a.Failed["no response"])
	}
	for _, reason := range []string{"429", "500", "301"} {
		if a.Failed[reason] != 1 {
			t.Errorf("%s: %d", reason, a.Failed[reason])
		}
	}
	for percent, want := range map[float64]time.Duration{50: 49700 * time.Microsecond, 99.9: 2 * time.Second, 100: highest} {
		if got := a.Quantile(percent); math.Abs(float64(got-want)) > float64(want)/500 {
			t.Errorf("p%v is %v, want about %v", percent, got, want)
		}
	}
}

func TestMedianAndRatio(t *testing.T) {
	for _, tc := range []struct {
		figures []float64
		want    float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := Median(tc.figures); got != tc.want {
			t.Errorf("%v: %v, want %v", tc.figures, got, tc.want)
		}
	}
	if !math.IsNaN(Median(nil)) || !math.IsNaN(Ratio([]float64{1}, []float64{0})) || !math.IsNaN(Ratio(nil, []float64{1})) {
		t.Error("a figure out of nothing")
	}
	// The machine halves its speed in each round; the pairs say 2 all the same.
	if got := Ratio([]float64{800, 400, 200, 7}, []float64{400, 200, 100}); got != 2 {
		t.Errorf("ratio %v, want 2", got)
	}
}

func TestCPUAndMemoryOfThisProcess(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	spent := before
	for sum := 0.0; spent < before+50*time.Millisecond; { // ends: what is spent is counted
		for i := range 1_000_000 {
			sum += math.Sqrt(float64(i))
		}
		if spent, err = CPU(os.Getpid()); err != nil || sum < 0 {
			t.Fatal(err)
		}
	}
	memory, err := ReadMemory(os.Getpid())
	if err != nil || memory.Resident < 1<<20 || memory.Peak < memory.Resident {
		t.Errorf("%+v, %v", memory, err)
	}
	if _, err := CPU(0); err == nil {
		t.Error("process 0 does not exist")
	}
}
