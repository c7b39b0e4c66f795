// SPDX-License-Identifier: Apache-2.0

// Package agent brings secure values to programs that know nothing of them, as files and environment variables. It must
// never print a value, nor have one in its own environment, and must not depend on Kubernetes libraries.
package agent

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/securevalue/secret-apiserver/pkg/internal/nodump"
)

// version is set by the linker.
var version = "v0.0.0-dev"

const rootLong = `Bring secure values to programs that know nothing of them.

Every flag is also a variable (--ca-file is SECRET_AGENT_CA_FILE) and a key of the file of --config (ca-file). Flags win
over variables, and variables over the file. Items of flags that may be repeated are separated by commas in a variable,
and are a list in the file.`

const fetchLong = `Write secure values into files, and end: for an init container. All files appear together, or none.

With --env-file the values of --env go into a file from which the kubelet sets variables (env.valueFrom.fileKeyRef). It
has no escapes: values that are empty, or have a single quote, a NUL byte or a carriage return before a line feed, are
refused.`

const fetchExample = `  secret-agent fetch --file tls/key.pem=web-key --file api-key=api-key
  secret-agent fetch --env DB_PASSWORD=db-password --env-file app.env`

// Main runs the command of this process and returns its exit code.
func Main() int {
	if err := nodump.Forbid(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", oneLine(err))
		return 1
	}
	return 0
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use: "secret-agent", Short: "Bring secure values to programs", Long: rootLong, Version: version,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newFetch())
	return root
}

func newFetch() *cobra.Command {
	o := newOptions()
	c := &cobra.Command{Use: "fetch", Short: "Write files once", Long: fetchLong, Example: fetchExample}
	o.addFlags(c, o.addFileFlags, o.addEnvFlag, o.addEnvFileFlag, o.addConnectionFlags)
	c.Args = noArgs
	c.RunE = func(c *cobra.Command, _ []string) error {
		p, err := o.plan(c)
		if err != nil {
			return err
		}
		return o.fetch(c.Context(), p)
	}
	return c
}

// noArgs does not repeat arguments: one may be a value.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments; see --help", c.Name())
	}
	return nil
}
