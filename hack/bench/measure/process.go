// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/procfs"
)

// CPU is the time that a process has spent, user and system, all threads, at 10 ms.
func CPU(pid int) (time.Duration, error) {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := process.Stat()
	return time.Duration(stat.CPUTime() * float64(time.Second)), err
}

// Memory is the resident memory of a process in bytes, now and at its highest since it started or since ResetPeak.
type Memory struct {
	Resident, Peak int64
}

// ReadMemory reads /proc/PID/status.
func ReadMemory(pid int) (Memory, error) {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return Memory{}, err
	}
	status, err := process.NewStatus()
	if err == nil && (status.VmRSS == 0 || status.VmHWM == 0) {
		err = fmt.Errorf("process %d has no resident memory: it has ended", pid)
	}
	return Memory{Resident: int64(status.VmRSS), Peak: int64(status.VmHWM)}, err //nolint:gosec // sizes of memory
}

// ResetPeak resets Peak to the current value.
func ResetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

const (
	cyclesMetric = "go_gc_cycles_total_gc_cycles_total"
	liveMetric   = "go_gc_heap_live_bytes"
)

// Server is a process with the metrics of a Kubernetes API server.
type Server interface {
	// Metrics returns what /metrics says.
	Metrics(ctx context.Context) ([]byte, error)
	// Memory is that of the server and of its etcd, which is zero when it is embedded.
	Memory() (server, etcd Memory, err error)
}

// Settled is the memory of a server whose garbage was collected, in bytes. Live is what its heap held then.
type Settled struct {
	Server, Etcd Memory
	Live         float64
}

// Settle reads the metrics of a server until it has collected its garbage twice, since nobody can ask it to, and then
// its memory.
func Settle(ctx context.Context, s Server) (Settled, error) {
	for first := -1.0; ; {
		text, err := s.Metrics(ctx)
		if err != nil {
			return Settled{}, err
		}
		cycles, err := Metric(text, cyclesMetric)
		if err != nil {
			return Settled{}, err
		}
		if first < 0 {
			first = cycles
		}
		if cycles < first+2 {
			continue
		}
		settled := Settled{}
		if settled.Live, err = Metric(text, liveMetric); err != nil {
			return Settled{}, err
		}
		settled.Server, settled.Etcd, err = s.Memory()
		return settled, err
	}
}

// Metric finds a metric in the text of /metrics, by its name and its labels as they are written there.
func Metric(text []byte, name string) (float64, error) {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name+" ")); ok {
			return strconv.ParseFloat(string(bytes.TrimSpace(rest)), 64)
		}
	}
	return 0, fmt.Errorf("/metrics has no %s", name)
}
