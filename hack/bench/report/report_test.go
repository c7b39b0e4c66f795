// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/load"
	"github.com/securevalue/secret-apiserver/hack/bench/measure"
	"github.com/securevalue/secret-apiserver/hack/bench/world"
)

// sample is a report in which ours does the given multiple of what core does in each round, with the inverse of its
// CPU.
func sample(op string, size int, times float64) *Report {
	clients := aimClients
	if op == "list" {
		clients = 1
	}
	c := NewCell(Cell{Op: op, Size: size, Clients: clients, Encoding: load.Protobuf, Mode: Closed, Objects: 10})
	for _, speed := range []float64{1000, 500, 2000} { // of the machine
		for side, factor := range map[string]float64{world.Core: 1, world.Ours: times} {
			recorder := measure.NewRecorder()
			recorder.Add(time.Millisecond, 200, nil)
			c.Add(side, Round{OK: 1, Figures: Figures{PerSecond: speed * factor, CPU: 1e6 / speed / factor, Bytes: 100 / factor}}, recorder)
		}
	}
	c.Finish()
	r := New("make bench", nil)
	r.Cells = []*Cell{c}
	r.Growth = []Growth{{Size: 256, Objects: 10, Sides: map[string]SideGrowth{world.Core: {Resident: 1000}, world.Ours: {Resident: 700}}}}
	r.Close()
	return r
}

func verdict(t *testing.T, r *Report, op string, size int, metric string) Verdict {
	t.Helper()
	for _, v := range r.Aims {
		if v.Op == op && v.Size == size && v.Metric == metric {
			return v
		}
	}
	t.Fatalf("no aim for %s %d %s", op, size, metric)
	return Verdict{}
}

func TestAims(t *testing.T) {
	for _, tc := range []struct {
		op, metric, want string
		size             int
		times            float64
	}{
		{"create", throughput, Reached, 256, 1.5}, {"create", throughput, Missed, 256, 1.49},
		{"get", cpuPerOp, Reached, 8192, 2}, {"get", cpuPerOp, Missed, 8192, 1.99},
		{"list", listTime, Reached, 256, 1.7}, {"list", listTime, Missed, 256, 1.6}, {"list", listBytes, Reached, 8192, 20},
		{"patch", throughput, Reached, 8192, 2.5}, {"update", cpuPerOp, Missed, 256, 1.4},
	} {
		if got := verdict(t, sample(tc.op, tc.size, tc.times), tc.op, tc.size, tc.metric); got.Verdict != tc.want {
			t.Errorf("%s %d %s at %v: %s (%v), want %s", tc.op, tc.size, tc.metric, tc.times, got.Verdict, got.Measured, tc.want)
		}
	}
	r := sample("get", 256, 1)
	if got := verdict(t, r, "growth", 256, memory); got.Verdict != Reached || got.Measured != 0.7 {
		t.Errorf("growth: %+v", got)
	}
	if got := verdict(t, r, "growth", 8192, memory); got.Verdict != NotMeasured {
		t.Errorf("what was not measured is %s", got.Verdict)
	}
	r.Cells[0].Audit = true
	if r.Judge(); verdict(t, r, "get", 256, throughput).Verdict != NotMeasured {
		t.Error("an audited row was taken for the one of the aim")
	}
}

func TestFailuresAreShown(t *testing.T) {
	r := sample("get", 256, 1)
	failed := measure.NewRecorder()
	failed.Add(2*time.Second, 503, nil)
	failed.Add(time.Second, 0, errors.New("cut"))
	r.Cells[0].Add(world.Ours, Round{}, failed)
	r.Cells[0].Finish()
	out := r.Markdown()
	for _, want := range []string{"1 × 503, 1 × no response | 2 |", "2 requests failed in the whole run"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if line := r.Cells[0].Line(); !strings.Contains(line, "FAILED") {
		t.Error(line)
	}
}

func TestWrite(t *testing.T) {
	r := sample("create", 8192, 1.8)
	r.Cells[0].Against[world.Ours] = Ratios{PerSecond: 1.8, CPU: math.NaN()} // a side without a figure
	dir := filepath.Join(t.TempDir(), "new")
	if err := r.Write(dir, "quick"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "quick.json"))
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Cells []struct {
			Op     string
			Ratios map[string]map[string]*float64
		}
		Aims []Verdict
	}
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	if len(read.Cells) != 1 || *read.Cells[0].Ratios[world.Ours]["perSecond"] != 1.8 || read.Cells[0].Ratios[world.Ours]["cpu"] != nil || len(read.Aims) != len(aims) {
		t.Errorf("read back %+v", read)
	}
	if tables, err := os.ReadFile(filepath.Join(dir, "quick.md")); err != nil || !bytes.Contains(tables, []byte("| create | 8 KiB | throughput | ≥ 1.70 | 1.80 | reached |")) {
		t.Errorf("%v in\n%s", err, tables)
	}
	plot, err := os.ReadFile(filepath.Join(dir, "quick.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for decoder := xml.NewDecoder(bytes.NewReader(plot)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, plot)
		}
	}
	for _, want := range []string{"create 8 KiB", ">1.80<", ">no figure<"} {
		if !bytes.Contains(plot, []byte(want)) {
			t.Errorf("no %q in the plot", want)
		}
	}
}

func TestScale(t *testing.T) {
	s := NewScale("make bench-scale", nil, 10, 1024)
	s.Add("first start", 0.5, "s")
	for seconds, want := range map[float64]string{4.9: Reached, 5: Missed, 60: Missed} {
		if s.Aim(seconds, 5); !strings.HasPrefix(s.StartAim, want) {
			t.Errorf("%v s: %s", seconds, s.StartAim)
		}
	}
	if err := s.Write(t.TempDir()); err != nil {
		t.Error(err)
	}
	if out := s.Markdown(); !strings.Contains(out, "| first start | 0.50 s |") || !strings.Contains(out, "10 values of 1 KiB") {
		t.Error(out)
	}
}

func TestFigure(t *testing.T) {
	for f, want := range map[float64]string{math.NaN(): "–", 1234.5: "1234", 12.34: "12.3", 1.234: "1.23", 0.0123: "0.012", 0: "0.00"} {
		if got := figure(f); got != want && !(math.IsNaN(f) && got == "–") {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
}

func TestThisMachine(t *testing.T) {
	m := ThisMachine()
	if m.Cores < 1 || !strings.HasSuffix(m.Memory, " GiB") || !strings.HasPrefix(m.Kernel, "Linux ") || strings.Contains(m.Kernel, "-") {
		t.Errorf("%+v", m)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := Versions(program); err != nil || v["Go"] == "" {
		t.Errorf("%v, %v", v, err)
	}
	if v, err := Versions(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Errorf("a program that is not there has %v", v)
	}
}

func TestRoundsKeepFourDigits(t *testing.T) {
	data, err := json.Marshal(Round{Seconds: 1.00049, OK: 123456, Figures: Figures{PerSecond: 123456, CPU: 0.000123456}})
	if err != nil || !bytes.HasPrefix(data, []byte(`{"perSecond":123500,"cpuMicros":0.0001235,`)) ||
		!bytes.HasSuffix(data, []byte(`,"seconds":1,"ok":123456}`)) {
		t.Errorf("%s, %v", data, err)
	}
}
