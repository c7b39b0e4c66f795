// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

const replaceLong = `Let people seal to a new key: the next one who asks the server for its sealing key gets a new one.
Older keys still open what was sealed to them. Without this command a key is replaced after --sealing-key-max-age.

Anyone who has a sealing key, from a database or a backup together with the key that encrypts it, can open all that was
ever sealed to it: after such a leak write new values, seal them to the new key, and retire the old one.`

const replaceExample = `  secret-apiserver sealing-keys replace --data-dir ./data`

const retireSealingLong = `Delete a sealing key with its private half: nothing that was sealed to it opens any more, not
even what stands in Git. Stored values are not affected, and manifests that have not changed since they were applied
still apply.

Refused for the key that people seal to, and while objects have a text that was sealed to it, unless --force is given:
deleted objects could not be made again from the same manifests. The number of these objects is printed. A backup that
has the key brings it back.`

const retireSealingExample = `  secret-apiserver sealing-keys retire 3f9c2e71a4b05d86 --data-dir ./data`

// NewSealingKeysCommand returns the command sealing-keys with its subcommands. They stop when ctx ends.
func NewSealingKeysCommand(ctx context.Context) *cobra.Command {
	command := &cobra.Command{
		Use:   "sealing-keys",
		Short: "Replace and retire the keys that manifests are sealed to",
		Long: "Replace and retire the keys that manifests are sealed to (spec.sealedValue). No private half is " +
			"opened, and no encryption key is needed. List them by: kubectl get sealingkeys",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(newReplaceSealingCommand(ctx), newRetireSealingCommand(ctx))
	command.SetUsageFunc((&cobra.Command{}).UsageFunc())
	command.SetHelpFunc((&cobra.Command{}).HelpFunc())
	return command
}

func newReplaceSealingCommand(ctx context.Context) *cobra.Command {
	var from source
	command := cli.NewCommand("replace", "Let people seal to a new key", replaceLong, replaceExample,
		func(command *cobra.Command) error {
			return from.with(ctx, func(client database) error {
				id, err := sealed.ReplaceSealingKey(ctx, client, from.prefix)
				if err != nil {
					return err
				}
				if id == "" {
					return errors.New("no sealing key exists yet: the first one is made when somebody asks for it")
				}
				_, err = fmt.Fprintf(command.OutOrStdout(), "%s is replaced when somebody asks for the key to seal to "+
					"again; it still opens\n", id)
				return err
			})
		})
	var flags cliflag.NamedFlagSets
	from.addFlags(flags.FlagSet("database"))
	cli.AddFlags(command, flags)
	return command
}

func newRetireSealingCommand(ctx context.Context) *cobra.Command {
	var from source
	var force bool
	command := cli.NewCommand("retire ID", "Delete a sealing key", retireSealingLong, retireSealingExample,
		func(command *cobra.Command) error {
			args := command.Flags().Args()
			if len(args) != 1 {
				return cli.UsageError(errors.New("name one key: kubectl get sealingkeys lists them"))
			}
			return from.with(ctx, func(client database) error {
				return retireSealing(ctx, command, client, from.prefix, args[0], force)
			})
		})
	command.Args = cobra.ArbitraryArgs
	var flags cliflag.NamedFlagSets
	from.addFlags(flags.FlagSet("database"))
	flags.FlagSet("retire").BoolVar(&force, "force", false,
		"Retire the key even if objects have a text that was sealed to it.")
	cli.AddFlags(command, flags)
	return command
}

func retireSealing(ctx context.Context, command *cobra.Command, client database, prefix, id string, force bool) error {
	var used usage
	bar := cli.New(command.ErrOrStderr(), cli.Values)
	_, err := sealed.NewScanner(client, apiserver.NewStorageCodec(), prefix).Scan(ctx, 0,
		func(record sealed.Scanned, total int64) {
			bar.Add(1, total)
			if record.SealedTo == id {
				used.add(record.Namespace + "/" + record.Name)
			}
		})
	bar.End()
	if err != nil {
		return err
	}
	if used.count > 0 && !force {
		return fmt.Errorf("%d objects have a text that was sealed to %s: %s; seal them again (kubectl securevalue "+
			"reseal), or give --force; nothing was changed", used.count, id, listNames(used))
	}
	if err := sealed.RetireSealingKey(ctx, client, prefix, id); err != nil {
		return fmt.Errorf("%s: %w", strings.TrimSpace(id), err)
	}
	_, err = fmt.Fprintf(command.OutOrStdout(), "%s is retired: nothing that was sealed to it opens any more "+
		"(%d objects have such a text)\n", id, used.count)
	return err
}

// with checks the flags and runs a command on the database.
func (s *source) with(ctx context.Context, run func(database) error) error {
	if err := cli.UsageError(s.validate()...); err != nil {
		return err
	}
	client, stop, err := s.Open(ctx)
	if err != nil {
		return err
	}
	defer stop()
	return run(client)
}
