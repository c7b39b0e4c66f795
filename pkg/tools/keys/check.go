// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/reload"
)

const checkLong = `Check that a file for --encryption-provider-config is sound, and has every key that a stored value is sealed under. Run it
before you take a key away.

The exit code is 0 only when every record was read, the file has a key for each, and each local key opens a value that is
stored under its name. No value is printed, and no KMS is asked: a KMS provider is known by its name.`

const checkExample = `  secret-apiserver keys check --data-dir ./data --encryption-provider-config new-encryption.yaml`

// checkOptions are the flags of keys check.
type checkOptions struct {
	source source
	file   string
}

func newCheckCommand(ctx context.Context) *cobra.Command {
	var opts checkOptions
	command := &cobra.Command{
		Use:     "check",
		Short:   "Check that a file has every key that is in use",
		Long:    checkLong + "\n\nExamples:\n\n" + checkExample,
		Example: checkExample,
		Args:    cobra.NoArgs,
		RunE:    func(command *cobra.Command, _ []string) error { return opts.run(ctx, command) },
	}
	var flags cliflag.NamedFlagSets
	opts.source.addFlags(flags.FlagSet("database"))
	flags.FlagSet("check").StringVar(&opts.file, keys.Flag, "", "The file to check.")
	addFlags(command, flags)
	return command
}

func (o *checkOptions) run(ctx context.Context, command *cobra.Command) error {
	errs := o.source.validate()
	if o.file == "" {
		errs = append(errs, errors.New("--encryption-provider-config is required"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w; see --help", err)
	}
	config, err := readFile(o.file, keys.Parse)
	if err != nil {
		return err
	}
	found, err := o.source.survey(ctx, cli.New(command.ErrOrStderr(), cli.Values), config.Names(), config.LocalKeys())
	if err != nil {
		return err
	}
	if err := errors.Join(found.incomplete(), found.missing(config.Names()), keys.WrongSecretError(found.wrong)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(command.OutOrStdout(), "%s has a key for each of %s at revision %d\n", o.file, cli.NumberOfValues(found.values()), found.revision)
	return err
}

// readFile reads a file of keys and wipes it.
func readFile[T any](file string, parse func([]byte) (T, error)) (T, error) {
	var parsed T
	data, err := reload.ReadFile(file, reload.Credentials)
	if err != nil {
		return parsed, fmt.Errorf("reading --encryption-provider-config: %w", err)
	}
	defer clear(data)
	if parsed, err = parse(data); err != nil {
		return parsed, fmt.Errorf("--encryption-provider-config %s: %w", file, err)
	}
	return parsed, nil
}

// missing says which keys of stored values are not among those that a file has.
func (s *survey) missing(have []string) error {
	var errs []error
	for _, stored := range s.names() {
		if !slices.ContainsFunc(have, func(name string) bool { return secret.CoversKey(name, stored) }) {
			errs = append(errs, fmt.Errorf("the file lacks %s, under which %d values are sealed: %s",
				stored, s.keys[stored].count, listNames(*s.keys[stored])))
		}
	}
	return errors.Join(errs...)
}
