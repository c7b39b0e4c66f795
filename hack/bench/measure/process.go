// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of CPU time in /proc: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// The fields of /proc/PID/stat, counted from 0 after the program name.
const (
	userTimeField   = 11
	systemTimeField = 12
	statFields      = 13
)

// CPU is the time that a process has spent, user and system, all threads, at 10 ms.
func CPU(pid int) (time.Duration, error) {
	file := fmt.Sprintf("/proc/%d/stat", pid)
	data, err := os.ReadFile(file) //nolint:gosec // a file of the kernel
	if err != nil {
		return 0, err
	}
	spent, err := parseStat(data)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return spent, nil
}

// parseStat reads the line of a process. Its name may hold spaces and brackets, so the last bracket counts.
func parseStat(data []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return 0, fmt.Errorf("no name of a program in %q", data)
	}
	fields := bytes.Fields(data[end+1:])
	if len(fields) < statFields {
		return 0, fmt.Errorf("%d fields after the name, want at least %d", len(fields), statFields)
	}
	var ticks int64
	for _, field := range fields[userTimeField : systemTimeField+1] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// Memory is the resident memory of a process in bytes, now and at its highest since it started or since ResetPeak.
type Memory struct {
	Resident, Peak int64
}

// ReadMemory reads /proc/PID/status.
func ReadMemory(pid int) (Memory, error) {
	file := fmt.Sprintf("/proc/%d/status", pid)
	data, err := os.ReadFile(file) //nolint:gosec // a file of the kernel
	if err != nil {
		return Memory{}, err
	}
	memory, err := parseStatus(data)
	if err != nil {
		return Memory{}, fmt.Errorf("%s: %w", file, err)
	}
	return memory, nil
}

// ResetPeak resets Peak to the current value.
func ResetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

func parseStatus(data []byte) (m Memory, err error) {
	for name, target := range map[string]*int64{"VmRSS:": &m.Resident, "VmHWM:": &m.Peak} {
		_, rest, found := bytes.Cut(data, []byte("\n"+name))
		fields := bytes.Fields(rest)
		if !found || len(fields) < 2 || string(fields[1]) != "kB" {
			return m, fmt.Errorf("no %s in kB", name)
		}
		kilobytes, err := strconv.ParseInt(string(fields[0]), 10, 64)
		if err != nil {
			return m, err
		}
		*target = kilobytes << 10
	}
	return m, nil
}
