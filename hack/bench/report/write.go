// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// New starts a report of a run that begins now.
func New(command string, versions map[string]string) *Report {
	return &Report{
		Started: time.Now(), Command: command, Machine: ThisMachine(), Version: versions, Settings: map[string]string{
			"both sides": "TLS, client certificates, RBAC, AES-GCM at rest, one etcd member on a synced disk",
		},
	}
}

// Close ends the run and judges the aims.
func (r *Report) Close() {
	r.Took = time.Since(r.Started).Round(time.Second).String()
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
