// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"

	"github.com/spf13/cobra"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/term"
)

// NewCommand returns the command `keys` with its subcommands. They stop when ctx ends.
func NewCommand(ctx context.Context) *cobra.Command {
	command := &cobra.Command{
		Use:   "keys",
		Short: "Tell which keys the stored values are sealed under",
		Long:  "Tell which keys the stored values are sealed under. Nothing is opened, and no encryption key is needed.",
		Args:  cobra.NoArgs,
		RunE:  func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(newReportCommand(ctx), newCheckCommand(ctx))
	// Those of the parent print the parent's flags.
	command.SetUsageFunc((&cobra.Command{}).UsageFunc())
	command.SetHelpFunc((&cobra.Command{}).HelpFunc())
	return command
}

// addFlags groups the flags of a subcommand as --help prints them.
func addFlags(command *cobra.Command, flags cliflag.NamedFlagSets) {
	for _, name := range flags.Order {
		command.Flags().AddFlagSet(flags.FlagSets[name])
	}
	columns, _, _ := term.TerminalSize(command.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(command, flags, columns)
}
