// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"
	"time"
)

// Scale is a run with many values in one server.
type Scale struct {
	Started time.Time         `json:"started"`
	Took    string            `json:"took"`
	Command string            `json:"command"`
	Machine Machine           `json:"machine"`
	Version map[string]string `json:"versions"`
	Objects int               `json:"objects"`
	Size    int               `json:"valueBytes"`
	Figures []Figure          `json:"figures"`
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
	return &Scale{
		Started: time.Now(), Command: command, Machine: ThisMachine(), Version: versions, Objects: objects, Size: size,
		StartAim: NotMeasured,
	}
}

// Add adds a figure.
func (s *Scale) Add(what string, value float64, unit string) {
	s.Figures = append(s.Figures, Figure{What: what, Value: value, Unit: unit})
}

// Aim judges the start to ready: below limit seconds is wanted.
func (s *Scale) Aim(seconds, limit float64) {
	s.StartAim = fmt.Sprintf("%s: %.2f s, under %.0f s is wanted", Missed, seconds, limit)
	if seconds < limit {
		s.StartAim = fmt.Sprintf("%s: %.2f s, under %.0f s is wanted", Reached, seconds, limit)
	}
}

// Markdown is the run as the table of docs/performance.
func (s *Scale) Markdown() string {
	w := &strings.Builder{}
	fmt.Fprintf(w, "Run of %s, %s, by `%s`.\n\n", s.Started.UTC().Format("2006-01-02 15:04 UTC"), s.Took, s.Command)
	machine(w, s.Machine, s.Version)
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
