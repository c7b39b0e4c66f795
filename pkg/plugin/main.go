// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/securevalue/secret-apiserver/pkg/plugin/hint"
)

// completionName is what kubectl looks for on the PATH to complete the arguments of this plugin: a link of that name to
// this binary will do.
const completionName = "kubectl_complete-securevalue"

// Main runs the plugin on the arguments and streams of this process and returns its exit code: 0, 1 after an error, or what the
// command says in its help.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	command := NewCommand(genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr})
	command.SetArgs(arguments(os.Args))
	err := command.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, hint.ErrSilent) {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	if err != nil && ctx.Err() != nil {
		return hint.Interrupted
	}
	return hint.ExitCode(err)
}

// arguments are those of the command line. Called as completionName, the plugin completes instead.
func arguments(args []string) []string {
	if filepath.Base(args[0]) == completionName {
		return append([]string{cobra.ShellCompRequestCmd}, args[1:]...)
	}
	return args[1:]
}
