// SPDX-License-Identifier: Apache-2.0

// Package agent brings secure values to programs that know nothing of them, as files and environment variables. It must
// never print a value, nor have one in its own environment, and must not depend on Kubernetes libraries.
package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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

const runLong = `Start a command whose environment has secure values. Nothing else sees them: neither secret-agent nor
the container has them in its environment. Signals go to the command, and its exit code is that of secret-agent: 128 and
the number of the signal if one killed it. secret-agent can be the first process of a container.

With --on-change=restart a new value ends the command by SIGTERM, after --grace by SIGKILL, and starts it again. With a
signal the files of --file are written first; variables of a running process cannot change. A command that ends by
itself ends secret-agent.`

const runExample = `  secret-agent run --env DB_PASSWORD=db-password -- /app/server --port 8080
  secret-agent run --file tls.key=web-key --on-change=SIGHUP -- nginx -g 'daemon off;'`

const serveLong = `Write secure values into files and keep them current, for a native sidecar: an init container with
restartPolicy Always. New values are there within about two seconds. All files change together, as in volumes of the
kubelet: a reader that resolves --dir/..data first reads files of one set.

While the server is unavailable, or does not give a value any more, the files stay as they are.`

const serveExample = `  secret-agent serve --file tls.key=web-key --file tls.crt=web-certificate
  secret-agent serve --file tls.key=web-key --signal SIGHUP --process nginx`

const readyLong = `Succeed once serve has written all files: a startupProbe for its container, which has no shell.
--ready-file is that of serve; both read SECRET_AGENT_READY_FILE.`

const csiLong = `Serve files to the Secrets Store CSI driver, in one Pod on each node. Each mount uses the token of
the Pod that the volume is for; this program has no permission. A SecretProviderClass names the provider and has two
parameters:

  namespace  of the secure values; without it that of the Pod
  objects    a YAML list of files: path in the volume, name of the secure value, and mode ("0444")

The driver needs tokenRequests for audience secret.grafana.app in its CSIDriver object. New values come with rotation of
the driver (--enable-secret-rotation).`

// Main runs the command of this process and returns its exit code.
func Main() int {
	if err := nodump.Forbid(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	code := 0
	if ended, ok := errors.AsType[*exit](err); ok {
		code, err = ended.code, ended.err
	} else if err != nil {
		code = 1
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", oneLine(err))
	}
	return code
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use: "secret-agent", Short: "Bring secure values to programs", Long: rootLong, Version: version,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newFetch(), newRun(), newServe(), newReady(), newCSI())
	return root
}

func newFetch() *cobra.Command {
	o := newOptions()
	c := o.command("fetch", "Write files once", fetchLong, fetchExample,
		o.addFileFlags, o.addEnvFlag, o.addEnvFileFlag, o.addConnectionFlags, o.addTimeoutFlag)
	c.RunE = o.planned(o.fetch)
	return c
}

func newRun() *cobra.Command {
	o := newOptions()
	c := o.command("run", "Start a command with variables and files", runLong, runExample,
		o.addEnvFlag, o.addFileFlags, o.addRunFlags, o.addConnectionFlags, o.addTimeoutFlag)
	c.Use = "run [flags] -- COMMAND [ARGUMENTS]"
	c.Flags().SetInterspersed(false)
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New("expected the command to start after --; see --help")
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		return o.planned(func(ctx context.Context, p plan) error { return o.run(ctx, p, args) })(c, args)
	}
	return c
}

func newServe() *cobra.Command {
	o := newOptions()
	c := o.command("serve", "Keep files current", serveLong, serveExample,
		o.addFileFlags, o.addEnvFlag, o.addEnvFileFlag, o.addServeFlags, o.addReadyFlag, o.addConnectionFlags)
	c.RunE = o.planned(o.serve)
	return c
}

func newCSI() *cobra.Command {
	o := newOptions()
	c := o.command("csi", "Serve files to the Secrets Store CSI driver", csiLong, "", o.addCSIFlags, o.addServerFlags)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := settle(c.Flags()); err != nil {
			return err
		}
		return o.csi(c.Context())
	}
	return c
}

func newReady() *cobra.Command {
	o := newOptions()
	c := o.command("ready", "Check that serve has written all files", readyLong, "", o.addReadyFlag, o.addConfigFlag)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := settle(c.Flags()); err != nil {
			return err
		}
		return o.checkReady()
	}
	return c
}

// command returns a command without arguments, with groups of flags in the order of help.
func (*options) command(use, short, long, example string, groups ...func(*pflag.FlagSet)) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: long, Example: example}
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 { // not repeated: one may be a value
			return fmt.Errorf("%s takes no arguments; see --help", c.Name())
		}
		return nil
	}
	c.Flags().SortFlags = false
	for _, add := range groups {
		add(c.Flags())
	}
	return c
}

// planned settles and checks the options before it calls run.
func (o *options) planned(run func(context.Context, plan) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		if err := settle(c.Flags()); err != nil {
			return err
		}
		p, err := o.plan(c.Flags().Lookup("env-file") != nil)
		if err != nil {
			return err
		}
		return run(c.Context(), p)
	}
}
