// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

const reportLong = `Count the stored values by the key that seals them, all at one revision of the database. OLDEST is
when the oldest of these values was created. The running servers are listed with the keys that each of them has loaded.

The exit code is 0 only when every record was read, and each key of --fail-on is retired (see keys retire) and seals no
value. A key that is not retired may seal one after the report: a server may have read an older file.`

const reportExample = `  # What is sealed under what?
  secret-apiserver keys report --data-dir ./data

  # The proof at the end of a rotation: nothing is left under the old key, and nothing more can be sealed under it.
  secret-apiserver keys report --data-dir ./data --fail-on aesgcm/key-20250101-3f9c2e71`

// Report is what --output json prints.
type Report struct {
	// Revision is the etcd revision at which everything was read.
	Revision int64 `json:"revision"`
	// Values counts the stored values.
	Values int64 `json:"values"`
	// Deleted counts the objects that are deleted and wait for their finalizers: they hold no value.
	Deleted int64 `json:"deleted"`
	// Keys has an entry for each key that seals a value.
	Keys []KeyReport `json:"keys"`
	// Undecodable counts the records that the server did not write, Faults names the first thousand.
	Undecodable int64         `json:"undecodable"`
	Faults      []FaultReport `json:"faults,omitempty"`
	// Retired are the keys that no server may seal under any more.
	Retired []sealed.RetiredKeyRecord `json:"retired"`
	// Servers are the running servers that announce themselves at this revision.
	Servers []sealed.Server `json:"servers"`
}

// KeyReport describes what one key seals.
type KeyReport struct {
	// Provider and Key are the two parts of status.key. Provider is "-" for a name that must not be shown.
	Provider string `json:"provider"`
	Key      string `json:"key"`
	// Count is the number of values that the key seals.
	Count int64 `json:"count"`
	// SealingKeys is the number of sealing keys under it (docs/sealed-manifests.md), which are not values.
	SealingKeys int64 `json:"sealingKeys,omitempty"`
	// Oldest is when the oldest of the values was created.
	Oldest *time.Time `json:"oldest,omitempty"`
}

// FaultReport names a record that the server did not write.
type FaultReport struct {
	// Name is NAMESPACE/NAME.
	Name string `json:"name"`
	// Reason quotes nothing of the record.
	Reason string `json:"reason"`
}

// reportOptions are the flags of keys report.
type reportOptions struct {
	source source
	output string
	failOn []string
	file   string
}

func newReportCommand(ctx context.Context) *cobra.Command {
	var opts reportOptions
	command := cli.NewCommand("report", "Count the stored values by key", reportLong, reportExample,
		func(command *cobra.Command) error { return opts.run(ctx, command) })
	var flags cliflag.NamedFlagSets
	opts.source.addFlags(flags.FlagSet("database"))
	opts.addFlags(flags.FlagSet("report"))
	cli.AddFlags(command, flags)
	return command
}

func (o *reportOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.output, "output", "o", "table", "Output format: table or json.")
	fs.StringArrayVar(&o.failOn, "fail-on", nil, "Key, as PROVIDER/NAME, that must be retired and seal no value: "+
		"exit with 1 until then. kms/NAME stands for all keys of that plugin. May be repeated.")
	fs.StringVar(&o.file, keys.Flag, "", "File with more key names for --fail-on. Only names are read. "+
		"Default with --data-dir: encryption.yaml in that folder, if it exists.")
}

func (o *reportOptions) validate() error {
	errs := o.source.validate()
	if o.output != "table" && o.output != "json" {
		errs = append(errs, fmt.Errorf("--output must be table or json, not %q", o.output))
	}
	for _, key := range o.failOn {
		errs = append(errs, checkKey("--fail-on", key))
	}
	return cli.UsageError(errs...)
}

func (o *reportOptions) run(ctx context.Context, command *cobra.Command) error {
	if err := o.validate(); err != nil {
		return err
	}
	configured, err := o.source.keyNames(o.file)
	if err != nil {
		return err
	}
	names := longestFirst(configured, o.failOn...)
	found, err := o.source.survey(ctx, cli.New(command.ErrOrStderr(), cli.Values), names, nil)
	if err != nil {
		return err
	}
	report := found.report()
	if o.output == "json" {
		err = cli.PrintJSON(command.OutOrStdout(), report)
	} else {
		_, err = fmt.Fprint(command.OutOrStdout(), report.table())
	}
	if err != nil {
		return fmt.Errorf("printing the report: %w", err)
	}
	return errors.Join(found.incomplete(), found.failOn(o.failOn, configured, o.source.retireCommand(o.file)))
}

func (s *survey) report() Report {
	report := Report{
		Revision: s.revision, Values: s.values(), Deleted: s.deleted, Keys: []KeyReport{},
		Undecodable: s.faultCount, Faults: s.faults, Servers: append([]sealed.Server{}, s.servers...),
		Retired: append([]sealed.RetiredKeyRecord{}, s.retired.Keys...),
	}
	for _, name := range s.names() {
		key := s.keys[name]
		entry := KeyReport{Count: key.count - key.sealingKeys, SealingKeys: key.sealingKeys}
		entry.Provider, entry.Key = sealed.SplitKey(name)
		if !key.oldest.IsZero() {
			oldest := key.oldest.UTC()
			entry.Oldest = &oldest
		}
		report.Keys = append(report.Keys, entry)
	}
	return report
}

func (r *Report) table() string {
	rows := [][]string{{"PROVIDER", "KEY", "COUNT", "OLDEST"}}
	for _, key := range r.Keys {
		oldest := "-"
		if key.Oldest != nil {
			oldest = key.Oldest.Format(time.RFC3339)
		}
		rows = append(rows, []string{key.Provider, key.Key, strconv.FormatInt(key.Count, 10), oldest})
	}
	var text strings.Builder
	text.WriteString(cli.Table(rows))
	for _, key := range r.Retired {
		fmt.Fprintf(&text, "retired: %s since revision %d (%s)\n", key.Key, key.Revision, key.Time.Format(time.RFC3339))
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&text, "undecodable: %s: %s\n", f.Name, f.Reason)
	}
	if r.Deleted > 0 {
		fmt.Fprintf(&text, "%d deleted, waiting for finalizers\n", r.Deleted)
	}
	var sealingKeys int64
	for _, key := range r.Keys {
		if key.SealingKeys > 0 {
			sealingKeys += key.SealingKeys
			fmt.Fprintf(&text, "sealing keys under %s/%s: %d\n", key.Provider, key.Key, key.SealingKeys)
		}
	}
	fmt.Fprintf(&text, "%s at revision %d\n", cli.NumberOfSealed(r.Values, sealingKeys), r.Revision)
	text.WriteString(serverTable(r.Servers))
	return text.String()
}

// incomplete returns an error when records could not be read, so that the counts prove nothing.
func (s *survey) incomplete() error {
	if s.faultCount == 0 {
		return nil
	}
	return fmt.Errorf("%d records cannot be decoded, %s among them: delete them, or restore them from a backup",
		s.faultCount, s.faults[0].Name)
}

// failOn returns an error for each key that seals a value or is not retired, and for one that nothing knows. retire is
// the command that retires a key.
func (s *survey) failOn(keys, configured []string, retire func(key string) string) error {
	var errs []error
	for _, key := range keys {
		used, known := s.under(key), s.retired.Covering(key) != nil || slices.Contains(configured, key)
		if used.count > 0 {
			errs = append(errs, fmt.Errorf("%s are still under %s: %s", used.text(), key, listNames(used)))
		}
		if used.count == 0 && !known {
			errs = append(errs, fmt.Errorf("--fail-on: no stored value and no key of "+
				"--encryption-provider-config is named %q: correct the name, "+
				"or give the file that still has the key", key))
			continue
		}
		errs = append(errs, s.fenced(key, retire))
	}
	return errors.Join(errs...)
}

func listNames(used usage) string {
	text := strings.Join(used.names, ", ")
	if more := used.count - int64(len(used.names)); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
