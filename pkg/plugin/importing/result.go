// SPDX-License-Identifier: Apache-2.0

package importing

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
)

// What came of an entry.
const (
	resultImported   = "imported"
	resultImportable = "would be imported" // on a dry run
	resultExists     = "exists"
	resultLeftOut    = "left out"
	resultSkipped    = "skipped"
)

// result is a line of the report.
type result struct {
	Origin string `json:"origin"`
	Name   string `json:"name,omitempty"`
	Result string `json:"result"`
	Reason string `json:"reason,omitempty"`
}

// report is what import prints. It has no value.
type report struct {
	Results []result `json:"results"`
	DryRun  bool     `json:"dryRun,omitempty"`
}

func (r *report) count(what string) int {
	n := 0
	for i := range r.Results {
		if r.Results[i].Result == what {
			n++
		}
	}
	return n
}

func printer(form string) (func(io.Writer, report) error, error) {
	switch form {
	case "table", "":
		return printTable, nil
	case "json":
		return printJSON, nil
	}
	return nil, errors.New("-o must be table or json")
}

func printJSON(out io.Writer, r report) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

func printTable(out io.Writer, r report) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "ORIGIN\tNAME\tRESULT") // Flush returns the error
	for _, line := range r.Results {
		text, name := line.Result, line.Name
		if line.Reason != "" {
			text += ": " + line.Reason
		}
		if name == "" {
			name = "-"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", line.Origin, name, text)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	done, end := resultImported, ""
	if r.DryRun {
		done, end = resultImportable, " (server dry run)"
	}
	_, err := fmt.Fprintf(out, "%d %s, %d existed, %d left out, %d skipped%s\n",
		r.count(done), done, r.count(resultExists), r.count(resultLeftOut), r.count(resultSkipped), end)
	return err
}
