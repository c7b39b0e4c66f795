// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/securevalue/secret-apiserver/pkg/tools/auditlog"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

const long = `Write secure values without leaving them in your shell history, and show who may open one.

A value is never an argument. It comes from a hidden prompt, a file, standard input or an environment variable, or it is
generated. All kubectl flags that select a cluster, a user and a namespace work here too.`

const rootExample = `  # Prompt for the value without showing it.
  kubectl securevalue create api-key -d "External API key" --decrypter synthetic-monitoring

  # Write a new value.
  kubectl securevalue set api-key

  # Show who may open it.
  kubectl securevalue who-can-decrypt api-key`

// completionName is the program that kubectl runs to complete the arguments of this plugin: a link to this binary.
const completionName = "kubectl_complete-securevalue"

// Main runs the plugin with the arguments and streams of this process and returns its exit code: 0, 1 after an error,
// or the code that the help of the command documents.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := NewCommand(genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr})
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == completionName {
		args = append([]string{cobra.ShellCompRequestCmd}, args...)
	}
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errPrinted) {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	if err != nil && ctx.Err() != nil {
		return exitInterrupted
	}
	return exitCode(err)
}

// NewCommand returns the root command.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-securevalue",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl securevalue"},
		Short:         "Write secure values and show who may open them",
		Long:          long,
		Example:       rootExample,
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(flagError)
	f := newFactory(streams)
	f.flags.AddFlags(root.PersistentFlags())
	root.AddCommand(newCreate(f), newSet(f), newImport(f), newSeal(f), newInspect(f), newReseal(f),
		newWhoCanDecrypt(f), newCanDecrypt(f), newGrant(f), newRevoke(f), newKeys(f), newAudit(), newVersion())
	return root
}

// noArgs completes a command without arguments. Superfluous arguments are not repeated: one may be a value.
func noArgs(c *cobra.Command, run func(context.Context) error) *cobra.Command {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("%s takes no arguments%s", c.Name(), seeHelp(c))
		}
		return nil
	}
	c.ValidArgsFunction = cobra.NoFileCompletions
	c.RunE = func(c *cobra.Command, _ []string) error { return run(c.Context()) }
	return c
}

// oneName completes a command with the argument NAME.
func (f *factory) oneName(c *cobra.Command, run func(ctx context.Context, name string) error) *cobra.Command {
	c.Args = func(c *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return fmt.Errorf("expected the NAME of the secure value%s", seeHelp(c))
		case 1:
			return nil
		}
		return fmt.Errorf("expected exactly one NAME; never pass the value as an argument, "+
			"it would end up in your shell history%s", seeHelp(c))
	}
	c.ValidArgsFunction = f.completeNames
	c.RunE = func(c *cobra.Command, args []string) error { return run(c.Context(), args[0]) }
	return c
}

func newVersion() *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Print the version of this plugin"}
	return noArgs(c, func(context.Context) error {
		_, err := fmt.Fprintln(c.OutOrStdout(), c.Root().DisplayName(), "version", c.Root().Version)
		return err
	})
}

// newAudit is the server's command `audit` with the examples of the plugin.
func newAudit() *cobra.Command {
	command := auditlog.New()
	for _, leaf := range command.Commands() {
		leaf.Example = strings.ReplaceAll(leaf.Example, "secret-apiserver audit", "kubectl securevalue audit")
	}
	return command
}
