// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// Report is what --output json prints.
type Report struct {
	// Revision is the etcd revision that all of it was read at.
	Revision int64 `json:"revision"`
	// Values counts the stored values.
	Values int64 `json:"values"`
	// Deleted counts the objects that are deleted and wait for their finalizers: they hold no value.
	Deleted int64 `json:"deleted"`
	// Keys has an entry for each key that seals a value.
	Keys []KeyReport `json:"keys"`
	// Undecodable counts the records that are not what the server writes, Faults names the first thousand.
	Undecodable int64         `json:"undecodable"`
	Faults      []FaultReport `json:"faults,omitempty"`
}

// KeyReport says what one key seals.
type KeyReport struct {
	// Provider and Key are the two parts of status.key. Provider is "-" for a name that must not be shown.
	Provider string `json:"provider"`
	Key      string `json:"key"`
	// Count is how many values the key seals.
	Count int64 `json:"count"`
	// Oldest is when the oldest of them was created.
	Oldest *time.Time `json:"oldest,omitempty"`
}

// FaultReport names a record that is not what the server writes.
type FaultReport struct {
	// Name is NAMESPACE/NAME.
	Name string `json:"name"`
	// Reason quotes nothing of the record.
	Reason string `json:"reason"`
}

func (s *survey) report() Report {
	report := Report{Revision: s.revision, Values: s.values(), Deleted: s.deleted, Keys: []KeyReport{}, Undecodable: s.faultCount}
	for _, name := range s.names() {
		key := s.keys[name]
		entry := KeyReport{Count: key.count}
		entry.Provider, entry.Key = sealed.SplitKey(name)
		if !key.oldest.IsZero() {
			oldest := key.oldest.UTC()
			entry.Oldest = &oldest
		}
		report.Keys = append(report.Keys, entry)
	}
	for _, f := range s.faults {
		report.Faults = append(report.Faults, FaultReport{Name: f.name, Reason: f.reason})
	}
	return report
}

func printJSON(out io.Writer, report Report) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}

func printTable(out io.Writer, report Report) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "PROVIDER\tKEY\tCOUNT\tOLDEST") // Flush returns the error
	for _, key := range report.Keys {
		oldest := "-"
		if key.Oldest != nil {
			oldest = key.Oldest.Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", key.Provider, key.Key, key.Count, oldest)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, f := range report.Faults {
		if _, err := fmt.Fprintf(out, "undecodable: %s: %s\n", f.Name, f.Reason); err != nil {
			return err
		}
	}
	if report.Deleted > 0 {
		if _, err := fmt.Fprintf(out, "%d deleted, waiting for finalizers\n", report.Deleted); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "%s at revision %d\n", cli.NumberOfValues(report.Values), report.Revision)
	return err
}
