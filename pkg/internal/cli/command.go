// SPDX-License-Identifier: Apache-2.0

// Package cli is what the commands of the server and the kubectl plugin share: flags and help, tables and JSON, and a
// progress bar. It must never draw a bar on what is not a terminal.
package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/term"
)

// NewCommand returns a command without arguments. The example is also part of the long text, because help with groups
// of flags does not print it.
func NewCommand(use, short, long, example string, run func(*cobra.Command) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long + "\n\nExamples:\n\n" + example, Example: example, Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return run(command) },
	}
}

// AddFlags adds the flags of a command, in the groups that --help prints.
func AddFlags(command *cobra.Command, flags cliflag.NamedFlagSets) {
	for _, name := range flags.Order {
		command.Flags().AddFlagSet(flags.FlagSets[name])
	}
	columns, _, _ := term.TerminalSize(command.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(command, flags, columns)
}

// UsageError joins the errors of flags; nil when there are none.
func UsageError(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w; see --help", err)
	}
	return nil
}

// Required returns an error when a flag is not set.
func Required(flag, value string) error {
	if value == "" {
		return fmt.Errorf("--%s is required", flag)
	}
	return nil
}

// shellSafe matches words that need no quotes in a shell.
var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]+$`)

// Quote makes s one word of a POSIX shell.
func Quote(s string) string {
	if shellSafe.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// PrintJSON writes a report as indented JSON.
func PrintJSON(out io.Writer, report any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}

// Table formats rows in columns.
func Table(rows [][]string) string {
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(table, strings.Join(row, "\t")) // in memory
	}
	_ = table.Flush()
	return out.String()
}
