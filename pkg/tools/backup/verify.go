// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

const verifyLong = `Check that a backup is complete, and open every value in it with the keys of a file for
--encryption-provider-config. Prints how many values opened and how many did not, by key, and the names of those that
did not. Values are not printed.

The exit code is 0 only when the backup is complete and every value opened.`

const verifyExample = `  secret-apiserver backup verify --from backup.db --encryption-provider-config encryption.yaml`

// maxNamed bounds how many values that do not open are named.
const maxNamed = 1000

// verifyOptions are the flags to open every value.
type verifyOptions struct {
	enabled bool
	keys    string
}

func (o *verifyOptions) addFlags(fs *pflag.FlagSet, usage, keysUsage string) {
	fs.BoolVar(&o.enabled, "verify", false, usage)
	fs.StringVar(&o.keys, keys.Flag, "", keysUsage)
}

func (o *verifyOptions) validate() error {
	if o.enabled != (o.keys != "") {
		return fmt.Errorf("--verify and --%s go together", keys.Flag)
	}
	return nil
}

// opener opens values with the keys of a file, which have names.
type opener struct {
	*sealed.Verifier
	names []string
}

// open returns nil without keys. The keys stay in memory until ctx ends.
func (o *verifyOptions) open(ctx context.Context, prefix string) (*opener, error) {
	if o.keys == "" {
		return nil, nil //nolint:nilnil // nothing to verify is not an error
	}
	provider, err := keys.New(ctx, keys.Config{File: o.keys, APIServerID: "backup"})
	if err != nil {
		return nil, err
	}
	return &opener{sealed.NewVerifier(apiserver.NewStorageCodec(), prefix, provider.Transformer(), provider),
		provider.Names()}, nil
}

func newVerifyCommand(ctx context.Context) *cobra.Command {
	var from, prefix string
	var verify verifyOptions
	command := cli.NewCommand("verify", "Open every value in a backup", verifyLong, verifyExample,
		func(command *cobra.Command) error {
			err := cli.UsageError(checkPrefix(prefix), cli.Required("from", from), cli.Required(keys.Flag, verify.keys))
			if err != nil {
				return err
			}
			return verifyFile(ctx, command, from, prefix, verify)
		})
	var flags cliflag.NamedFlagSets
	fs := flags.FlagSet("verify")
	fs.StringVar(&from, "from", "", "Backup to read.")
	fs.StringVar(&verify.keys, keys.Flag, "", "File with the keys.")
	addPrefix(fs, &prefix)
	cli.AddFlags(command, flags)
	return command
}

func verifyFile(ctx context.Context, command *cobra.Command, from, prefix string, verify verifyOptions) error {
	opener, err := verify.open(ctx, prefix)
	if err != nil {
		return err
	}
	bar := cli.New(command.ErrOrStderr(), cli.Bytes)
	f, err := openFile(ctx, from, sealed.Roots(prefix), bar)
	bar.End()
	if err != nil {
		return err
	}
	defer func() { _ = f.close() }() // only read
	return f.verify(ctx, opener, command)
}

// result is what opening all values of a backup gave.
type result struct {
	opened, failed map[string]int // by key
	faults         []sealed.Scanned
	values         int    // records that hold a value, without sealing keys
	sealingKeys    [2]int // those that opened, and all
	deleted        int    // objects that are deleted and wait for their finalizers without a value
}

func (r *result) add(found sealed.Scanned) {
	if found.Deleted {
		r.deleted++
		return
	}
	if found.Sealing {
		r.sealingKeys[1]++
	} else {
		r.values++
	}
	if found.Err == nil {
		if found.Sealing {
			r.sealingKeys[0]++
		}
		r.opened[found.Key]++
		return
	}
	r.failed[found.Key]++
	r.faults = append(r.faults, found)
}

// verify opens every value, prints the counts, and fails when one did not open.
func (f *file) verify(ctx context.Context, opener *opener, command *cobra.Command) error {
	bar := cli.New(command.ErrOrStderr(), cli.Values)
	r := &result{opened: map[string]int{}, failed: map[string]int{}}
	err := f.each(ctx, func(key string, record []byte) {
		r.add(opener.Verify(ctx, key, record))
		bar.Add(1, int64(len(f.records)))
	})
	bar.End()
	if err != nil {
		return fmt.Errorf("verifying %s: %w", f.path, err)
	}
	if _, err := fmt.Fprintf(command.OutOrStdout(), "%s at revision %d\n", r.text(), f.revision); err != nil {
		return err
	}
	if len(r.faults) == 0 {
		return nil
	}
	first, all := r.faults[0], r.values+r.sealingKeys[1]
	if all == 1 {
		return fmt.Errorf("the only value in %s, %s/%s, does not open", f.path, first.Namespace, first.Name)
	}
	return fmt.Errorf("%d of the %d values in %s do not open, %s/%s among them",
		len(r.faults), all, f.path, first.Namespace, first.Name)
}

// missing returns an error for each key of values that the file of opener lacks, with their number. It opens nothing.
func (f *file) missing(ctx context.Context, opener *opener) error {
	counts := map[string]int{}
	err := f.each(ctx, func(key string, record []byte) {
		found := opener.Read(key, record)
		if found.Key != "" && !slices.ContainsFunc(opener.names,
			func(name string) bool { return secret.CoversKey(name, found.Key) }) {
			counts[found.Key]++
		}
	})
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.path, err)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		errs = append(errs, fmt.Errorf("--%s lacks %s, under which %s are sealed", keys.Flag, name,
			cli.NumberOfValues(int64(counts[name]))))
	}
	return errors.Join(errs...)
}

// text is the report, up to the revision.
func (r *result) text() string {
	rows := [][]string{{"PROVIDER", "KEY", "OPENED", "FAILED"}}
	all := maps.Clone(r.opened)
	maps.Copy(all, r.failed)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		provider, key := sealed.SplitKey(name)
		rows = append(rows, []string{provider, key, strconv.Itoa(r.opened[name]), strconv.Itoa(r.failed[name])})
	}
	var text strings.Builder
	text.WriteString(cli.Table(rows))
	for _, record := range r.faults[:min(len(r.faults), maxNamed)] {
		fmt.Fprintf(&text, "does not open: %s/%s: %v\n", record.Namespace, record.Name, record.Err)
	}
	if more := len(r.faults) - maxNamed; more > 0 {
		fmt.Fprintf(&text, "and %d more\n", more)
	}
	if r.deleted > 0 {
		fmt.Fprintf(&text, "%d deleted, waiting for finalizers: nothing to open\n", r.deleted)
	}
	verb, failed := "open", len(r.faults)-(r.sealingKeys[1]-r.sealingKeys[0])
	if r.values == 1 {
		verb = "opens"
	}
	fmt.Fprintf(&text, "%d of %s %s", r.values-failed, cli.NumberOfValues(int64(r.values)), verb)
	if r.sealingKeys[1] > 0 {
		fmt.Fprintf(&text, " and %d of %d sealing keys", r.sealingKeys[0], r.sealingKeys[1])
	}
	return text.String()
}
