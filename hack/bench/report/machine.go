// SPDX-License-Identifier: Apache-2.0

package report

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Machine is what a run ran on.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	// Load is the load average of the last minute at the start: other programs make a run noisy.
	Load string `json:"loadAverage"`
}

// ThisMachine reads /proc; what cannot be read stays empty.
func ThisMachine() Machine {
	m := Machine{
		Cores: runtime.NumCPU(), CPU: field("/proc/cpuinfo", "model name"), Memory: gibibytes(field("/proc/meminfo", "MemTotal")),
	}
	if data, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		release, _, _ := strings.Cut(strings.TrimSpace(string(data)), "-") // the rest names the builder
		m.Kernel = "Linux " + release
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(data), " ")
	}
	return m
}

// gibibytes rounds `N kB`.
func gibibytes(kilobytes string) string {
	n, err := strconv.ParseFloat(strings.TrimSuffix(kilobytes, " kB"), 64)
	if err != nil {
		return kilobytes
	}
	return fmt.Sprintf("%.0f GiB", n/(1<<20))
}

// field returns the first `NAME : VALUE` of a file.
func field(file, name string) string {
	data, err := os.ReadFile(file) //nolint:gosec // a file of the kernel
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Versions are those of the programs that were measured, as Go wrote them into the files, by name.
func Versions(programs ...string) (map[string]string, error) {
	versions := map[string]string{"Go": strings.TrimPrefix(runtime.Version(), "go")}
	for _, file := range programs {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(file)
		if info.Main.Version != "(devel)" {
			versions[name] = info.Main.Version
			continue
		}
		for _, dep := range info.Deps { // of this tree: what it is made of
			if dep.Path == "k8s.io/apiserver" || dep.Path == "go.etcd.io/etcd/server/v3" {
				versions[name+" with "+dep.Path] = dep.Version
			}
		}
	}
	return versions, nil
}
