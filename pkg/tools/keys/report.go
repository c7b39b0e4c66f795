// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/keys"
)

const reportLong = `Count the stored values by the key that seals them, all at one revision of the database. OLDEST is when the oldest of these
values was created.

The exit code is 0 only when every record was read, and no value is under a key of --fail-on. Each of those keys must be named
by a stored value or by the file of --encryption-provider-config: a misspelt name proves nothing.`

const reportExample = `  # What is sealed under what?
  secret-apiserver keys report --data-dir ./data

  # The proof at the end of a rotation: nothing is left under the old key.
  secret-apiserver keys report --data-dir ./data --fail-on aesgcm/key-20250101-3f9c2e71`

// reportOptions are the flags of keys report.
type reportOptions struct {
	source source
	output string
	failOn []string
	file   string
}

func newReportCommand(ctx context.Context) *cobra.Command {
	var opts reportOptions
	command := &cobra.Command{
		Use:     "report",
		Short:   "Count the stored values by key",
		Long:    reportLong + "\n\nExamples:\n\n" + reportExample,
		Example: reportExample,
		Args:    cobra.NoArgs,
		RunE:    func(command *cobra.Command, _ []string) error { return opts.run(ctx, command) },
	}
	var flags cliflag.NamedFlagSets
	opts.source.addFlags(flags.FlagSet("database"))
	opts.addFlags(flags.FlagSet("report"))
	flags.FlagSet("report").StringVar(&opts.file, keys.Flag, "",
		"File whose keys may be named by --fail-on. Only names are read. With --data-dir it is encryption.yaml in that folder if there is one.")
	addFlags(command, flags)
	return command
}

func (o *reportOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.output, "output", "o", "table", "Form of the report: table or json.")
	fs.StringArrayVar(&o.failOn, "fail-on", nil,
		"Exit with 1 while a value is sealed under this key, as PROVIDER/NAME. kms/NAME stands for all keys of that plugin. May be repeated.")
}

// providers are the first parts of names that a key can have.
var providers = []string{"aesgcm", "aescbc", "secretbox", "kms"}

func (o *reportOptions) validate() error {
	errs := o.source.validate()
	if o.output != "table" && o.output != "json" {
		errs = append(errs, fmt.Errorf("--output must be table or json, not %q", o.output))
	}
	for _, key := range o.failOn {
		if provider, name, _ := strings.Cut(key, "/"); !slices.Contains(providers, provider) || name == "" {
			errs = append(errs, fmt.Errorf("--fail-on: %q is no PROVIDER/NAME with one of the providers %s", key, strings.Join(providers, ", ")))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w; see --help", err)
	}
	return nil
}

func (o *reportOptions) run(ctx context.Context, command *cobra.Command) error {
	if err := o.validate(); err != nil {
		return err
	}
	names, err := o.names()
	if err != nil {
		return err
	}
	found, err := o.source.survey(ctx, cli.New(command.ErrOrStderr(), cli.Values), withAsked(names, o.failOn), nil)
	if err != nil {
		return err
	}
	report := found.report()
	write := printTable
	if o.output == "json" {
		write = printJSON
	}
	if err := write(command.OutOrStdout(), report); err != nil {
		return fmt.Errorf("printing the report: %w", err)
	}
	return errors.Join(found.incomplete(), found.failOn(o.failOn, names))
}

// names returns the keys of the file, or nothing when there is none.
func (o *reportOptions) names() ([]string, error) {
	if o.file == "" && o.source.DataDir != "" {
		file := filepath.Join(o.source.DataDir, "encryption.yaml")
		if _, err := os.Stat(file); err == nil {
			o.file = file
		}
	}
	if o.file == "" {
		return nil, nil
	}
	return readFile(o.file, keys.KeyNames)
}

// withAsked adds keys that somebody asks about to the names by which a prefix is read, the longest first.
func withAsked(names, asked []string) []string {
	all := slices.Concat(names, asked)
	slices.SortStableFunc(all, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return all
}

// incomplete says that some records could not be read, so that the counts prove nothing.
func (s *survey) incomplete() error {
	if s.faultCount == 0 {
		return nil
	}
	return fmt.Errorf("%d records cannot be decoded, %s among them: delete them, or restore them from a backup", s.faultCount, s.faults[0].name)
}

// failOn returns an error for each key that seals a value, and for one that neither a value nor the configuration
// names.
func (s *survey) failOn(keys, configured []string) error {
	var errs []error
	for _, key := range keys {
		used := s.under(key)
		switch {
		case used.count > 0:
			errs = append(errs, fmt.Errorf("%d values are still under %s: %s", used.count, key, listNames(used)))
		case !slices.Contains(configured, key):
			errs = append(errs, fmt.Errorf("--fail-on: no stored value and no key of --encryption-provider-config is named %q: "+
				"correct the name, or give the file that still has the key", key))
		}
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
