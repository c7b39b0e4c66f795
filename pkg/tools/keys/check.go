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
)

const checkLong = `Check that a file for --encryption-provider-config is valid and has every key that seals a stored
value. Run it before you remove a key.

The exit code is 0 only when every record was read, the file has a key for each, each local key opens a value that is
stored under its name, and every key is retired (see keys retire) that a running server or encryption.yaml in the data
folder has and the file lacks. No value is printed, and no KMS is called: a KMS provider is identified by its name.`

const checkExample = `  secret-apiserver keys check --data-dir ./data --encryption-provider-config new-encryption.yaml`

func newCheckCommand(ctx context.Context) *cobra.Command {
	var from source
	var file string
	command := cli.NewCommand("check", "Check that a file has every key in use", checkLong, checkExample,
		func(command *cobra.Command) error { return check(ctx, command, &from, file) })
	var flags cliflag.NamedFlagSets
	from.addFlags(flags.FlagSet("database"))
	flags.FlagSet("check").StringVar(&file, keys.Flag, "", "File to check.")
	cli.AddFlags(command, flags)
	return command
}

func check(ctx context.Context, command *cobra.Command, from *source, file string) error {
	if err := cli.UsageError(append(from.validate(), cli.Required(keys.Flag, file))...); err != nil {
		return err
	}
	config, err := readFile(file, keys.Parse)
	if err != nil {
		return err
	}
	found, err := from.survey(ctx, cli.New(command.ErrOrStderr(), cli.Values), config.Names(), config.LocalKeys())
	if err != nil {
		return err
	}
	current, err := from.keyNames("")
	if err != nil {
		return err
	}
	err = errors.Join(found.incomplete(), found.missing(config.Names()), keys.WrongSecretError(found.wrong),
		found.dropped(config.Names(), current, from.retireCommand("")))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(command.OutOrStdout(), "%s has a key for each of %s at revision %d\n",
		file, cli.NumberOfSealed(found.values(), found.sealingKeys), found.revision)
	return err
}

// dropped returns an error for each key that a file lacks while a server may still write under it: those of current,
// and those of the running servers. retire is the command that retires a key.
func (s *survey) dropped(have, current []string, retire func(key string) string) error {
	inUse := slices.Clone(current)
	for _, server := range s.servers {
		inUse = append(inUse, server.Keys...)
	}
	slices.Sort(inUse)
	var errs []error
	for _, key := range slices.Compact(inUse) {
		if !slices.Contains(have, key) {
			errs = append(errs, s.fenced(key, retire))
		}
	}
	return errors.Join(errs...)
}

// missing returns an error for each key of stored values that a file lacks.
func (s *survey) missing(have []string) error {
	var errs []error
	for _, stored := range s.names() {
		if !slices.ContainsFunc(have, func(name string) bool { return secret.CoversKey(name, stored) }) {
			errs = append(errs, fmt.Errorf("the file lacks %s, under which %s are sealed: %s",
				stored, s.keys[stored].text(), listNames(*s.keys[stored])))
		}
	}
	return errors.Join(errs...)
}
