// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// Header says what ran where.
type Header struct {
	Started time.Time         `json:"started"`
	Took    string            `json:"took"`
	Command string            `json:"command"`
	Machine Machine           `json:"machine"`
	Version map[string]string `json:"versions"`
}

// newHeader is that of a run that begins now.
func newHeader(command string, versions map[string]string) Header {
	return Header{Started: time.Now(), Command: command, Machine: ThisMachine(), Version: versions}
}

// Close ends the run.
func (h *Header) Close() { h.Took = time.Since(h.Started).Round(time.Second).String() }

func (h *Header) print(w io.Writer) {
	m := h.Machine
	_, _ = fmt.Fprintf(w, "Run of %s, %s, by `%s`.\n\n%s, %d cores, %s of memory, %s, load average %s at the start. ",
		h.Started.UTC().Format("2006-01-02 15:04 UTC"), h.Took, h.Command, m.CPU, m.Cores, m.Memory, m.Kernel, m.Load)
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(h.Version)) {
		versions = append(versions, name+" "+h.Version[name])
	}
	_, _ = fmt.Fprintf(w, "%s.\n\n", strings.Join(versions, ", "))
}

// New starts a report of a run that begins now.
func New(command string, versions map[string]string) *Report {
	return &Report{Header: newHeader(command, versions), Settings: map[string]string{
		"both sides": "TLS, client certificates, RBAC, AES-GCM at rest, one etcd member on a synced disk",
	}}
}

// Close ends the run and judges the aims.
func (r *Report) Close() {
	r.Header.Close()
	r.Judge()
}

// Write puts the run into a folder as NAME.json, NAME.svg and NAME.md.
func (r *Report) Write(dir, name string) error {
	data, err := indent(r)
	if err != nil {
		return err
	}
	var plot bytes.Buffer
	if err := r.Plot(&plot); err != nil {
		return err
	}
	tables := fmt.Sprintf("# SecureValues and Secrets, %s run\n\n[How to read it](README.md). All figures: [%s.json](%s.json).\n\n![ratios](%s.svg)\n\n",
		name, name, name, name) + r.Markdown()
	return writeFiles(dir, map[string][]byte{name + ".json": data, name + ".svg": plot.Bytes(), name + ".md": []byte(tables)})
}

func writeFiles(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // documentation
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil { //nolint:gosec // documentation
			return err
		}
	}
	return nil
}

// indent makes JSON of two levels: a line for each cell or figure, so that a change of a run can be read.
func indent(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return nil, err
	}
	out := []byte("{")
	for i, name := range slices.Sorted(maps.Keys(top)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, "\n %q: ", name)
		var elements []json.RawMessage
		if json.Unmarshal(top[name], &elements) != nil || len(elements) == 0 {
			out = append(out, top[name]...)
			continue
		}
		out = append(out, '[')
		for j, element := range elements {
			if j > 0 {
				out = append(out, ',')
			}
			out = append(append(out, "\n  "...), element...)
		}
		out = append(out, "\n ]"...)
	}
	return append(out, "\n}\n"...), nil
}

// Scale is a run with many values in one server.
type Scale struct {
	Header

	Objects int      `json:"objects"`
	Size    int      `json:"valueBytes"`
	Figures []Figure `json:"figures"`
	// StartAim says whether the start with all values was as short as wanted.
	StartAim string `json:"startAim"`
}

// Figure is one thing that was measured.
type Figure struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// NewScale starts a report of a run that begins now.
func NewScale(command string, versions map[string]string, objects, size int) *Scale {
	return &Scale{Header: newHeader(command, versions), Objects: objects, Size: size, StartAim: NotMeasured}
}

// Add adds a figure.
func (s *Scale) Add(what string, value float64, unit string) {
	s.Figures = append(s.Figures, Figure{What: what, Value: value, Unit: unit})
}

// Aim judges the start to ready: below limit seconds is wanted.
func (s *Scale) Aim(seconds, limit float64) {
	verdict := Missed
	if seconds < limit {
		verdict = Reached
	}
	s.StartAim = fmt.Sprintf("%s: %.2f s, under %.0f s is wanted", verdict, seconds, limit)
}

// Markdown is the run as the table of docs/performance.
func (s *Scale) Markdown() string {
	w := &strings.Builder{}
	s.print(w)
	fmt.Fprintf(w, "%d values of %s in embedded etcd, standalone:\n\n| | |\n|---|---|\n", s.Objects, sizeText(s.Size))
	for _, f := range s.Figures {
		fmt.Fprintf(w, "| %s | %s %s |\n", f.What, figure(f.Value), f.Unit)
	}
	fmt.Fprintf(w, "\nAim, start to ready: %s.\n", s.StartAim)
	return w.String()
}

// Write puts the run into a folder as scale.json and scale.md.
func (s *Scale) Write(dir string) error {
	data, err := indent(s)
	if err != nil {
		return err
	}
	table := "# Many values in one server\n\n[How to read it](README.md).\n\n" + s.Markdown()
	return writeFiles(dir, map[string][]byte{"scale.json": data, "scale.md": []byte(table)})
}

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
	m := Machine{Cores: runtime.NumCPU()}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return m
	}
	if cpus, err := fs.CPUInfo(); err == nil && len(cpus) > 0 {
		m.CPU = cpus[0].ModelName
	}
	if memory, err := fs.Meminfo(); err == nil && memory.MemTotalBytes != nil {
		m.Memory = fmt.Sprintf("%.0f GiB", float64(*memory.MemTotalBytes)/(1<<30))
	}
	if load, err := fs.LoadAvg(); err == nil {
		m.Load = fmt.Sprintf("%.2f", load.Load1)
	}
	if release, err := fs.SysctlStrings("kernel/osrelease"); err == nil && len(release) > 0 {
		version, _, _ := strings.Cut(release[0], "-") // the rest names the builder
		m.Kernel = "Linux " + version
	}
	return m
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
