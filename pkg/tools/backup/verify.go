// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

const verifyLong = `Check that a backup is whole, and open every value in it with the keys of a file for --encryption-provider-config. Prints how
many values opened and how many did not, by key, and the names of those that did not. Values are not printed.

The exit code is 0 only when the backup is whole and every value opened.`

const verifyExample = `  secret-apiserver backup verify --from backup.db --encryption-provider-config encryption.yaml`

// maxNamed is how many values that do not open are named.
const maxNamed = 1000

// verifyOptions are the flags that ask to open every value.
type verifyOptions struct {
	asked bool
	keys  string
}

func (o *verifyOptions) addFlags(fs *pflag.FlagSet, usage string) {
	fs.BoolVar(&o.asked, "verify", false, usage)
	fs.StringVar(&o.keys, keys.Flag, "", "File with the keys that --verify opens values with.")
}

func (o *verifyOptions) validate() []error {
	if o.asked != (o.keys != "") {
		return []error{fmt.Errorf("--verify and --%s go together", keys.Flag)}
	}
	return nil
}

// open returns nil when nobody asked. The keys stay in memory until ctx ends.
func (o *verifyOptions) open(ctx context.Context, prefix string) (*sealed.Verifier, error) {
	if o.keys == "" {
		return nil, nil //nolint:nilnil // nothing to verify is no fault
	}
	provider, err := keys.New(ctx, keys.Config{File: o.keys, APIServerID: "backup"})
	if err != nil {
		return nil, err
	}
	return sealed.NewVerifier(apiserver.NewStorageCodec(), prefix, provider.Transformer(), provider), nil
}

func newVerifyCommand(ctx context.Context) *cobra.Command {
	var from, prefix string
	var decryption verifyOptions
	command := &cobra.Command{
		Use:     "verify",
		Short:   "Open every value in a backup",
		Long:    verifyLong + "\n\nExamples:\n\n" + verifyExample,
		Example: verifyExample,
		Args:    cobra.NoArgs,
	}
	command.RunE = func(command *cobra.Command, _ []string) error {
		errs := checkPrefix(prefix)
		if from == "" {
			errs = append(errs, errors.New("--from is required"))
		}
		if decryption.keys == "" {
			errs = append(errs, fmt.Errorf("--%s is required", keys.Flag))
		}
		if err := usage(errs); err != nil {
			return err
		}
		return verifyFile(ctx, command, from, prefix, decryption)
	}
	var flags cliflag.NamedFlagSets
	fs := flags.FlagSet("verify")
	fs.StringVar(&from, "from", "", "Backup to read.")
	fs.StringVar(&decryption.keys, keys.Flag, "", "File with the keys.")
	addPrefix(fs, &prefix)
	addFlags(command, flags)
	return command
}

func verifyFile(ctx context.Context, command *cobra.Command, from, prefix string, decryption verifyOptions) error {
	opener, err := decryption.open(ctx, prefix)
	if err != nil {
		return err
	}
	bar := cli.New(command.ErrOrStderr(), cli.Bytes)
	f, err := openFile(ctx, from, sealed.RecordRoot(prefix), bar)
	bar.End()
	if err != nil {
		return err
	}
	defer func() { _ = f.close() }() // only read
	return f.verify(ctx, opener, command)
}

// outcome is what opening all values of one key gave.
type outcome struct{ opened, failed int }

// verdict is what opening all values of a backup gave.
type verdict struct {
	byKey   map[string]outcome
	failed  []sealed.Scanned
	values  int // records that hold a value
	deleted int // objects that are deleted and wait for their finalizers without a value
}

func (v *verdict) add(found sealed.Scanned) {
	if found.Deleted {
		v.deleted++
		return
	}
	v.values++
	count := v.byKey[found.Key]
	if found.Err == nil {
		count.opened++
	} else {
		count.failed++
		v.failed = append(v.failed, found)
	}
	v.byKey[found.Key] = count
}

// verify opens every value, prints the counts, and fails when one did not open.
func (f *file) verify(ctx context.Context, opener *sealed.Verifier, command *cobra.Command) error {
	bar := cli.New(command.ErrOrStderr(), cli.Values)
	v := &verdict{byKey: map[string]outcome{}}
	err := f.each(ctx, func(key string, record []byte) {
		v.add(opener.Verify(ctx, key, record))
		bar.Add(1, int64(len(f.records)))
	})
	bar.End()
	if err != nil {
		return fmt.Errorf("verifying %s: %w", f.path, err)
	}
	if err := f.print(command.OutOrStdout(), v); err != nil {
		return err
	}
	if len(v.failed) == 0 {
		return nil
	}
	first := v.failed[0]
	if v.values == 1 {
		return fmt.Errorf("the only value in %s, %s/%s, does not open", f.path, first.Namespace, first.Name)
	}
	return fmt.Errorf("%d of the %d values in %s do not open, %s/%s among them", len(v.failed), v.values, f.path, first.Namespace, first.Name)
}

func (f *file) print(out io.Writer, v *verdict) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "PROVIDER\tKEY\tOPENED\tFAILED") // Flush returns the error
	for _, name := range slices.Sorted(maps.Keys(v.byKey)) {
		provider, key := sealed.SplitKey(name)
		_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%d\n", provider, key, v.byKey[name].opened, v.byKey[name].failed)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, record := range v.failed[:min(len(v.failed), maxNamed)] {
		if _, err := fmt.Fprintf(out, "does not open: %s/%s: %v\n", record.Namespace, record.Name, record.Err); err != nil {
			return err
		}
	}
	if more := len(v.failed) - maxNamed; more > 0 {
		if _, err := fmt.Fprintf(out, "and %d more\n", more); err != nil {
			return err
		}
	}
	if v.deleted > 0 {
		if _, err := fmt.Fprintf(out, "%d deleted, waiting for finalizers: nothing to open\n", v.deleted); err != nil {
			return err
		}
	}
	verb := "open"
	if v.values == 1 {
		verb = "opens"
	}
	_, err := fmt.Fprintf(out, "%d of %s %s at revision %d\n",
		v.values-len(v.failed), cli.NumberOfValues(int64(v.values)), verb, f.revision)
	return err
}
