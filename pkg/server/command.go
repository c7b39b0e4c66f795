// SPDX-License-Identifier: Apache-2.0

// Package server is the command secret-apiserver. Read run.go first, which has the life of the process, then wire.go,
// the one place that joins everything. It must never write outside of the data folder and the files that flags name.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/grpclog"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/term"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/logging"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
	"github.com/securevalue/secret-apiserver/pkg/standalone"
	"github.com/securevalue/secret-apiserver/pkg/tools/auditlog"
	"github.com/securevalue/secret-apiserver/pkg/tools/backup"
	"github.com/securevalue/secret-apiserver/pkg/tools/keys"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

const long = `secret-apiserver serves SecureValue of secret.grafana.app/v1beta1: write-only secrets. Authorized users
can write them, nobody can read them back. Values are encrypted before they reach etcd.`

const example = `  # Everything in one folder: embedded etcd, generated keys, certificate and admin token.
  secret-apiserver --standalone --data-dir ./data

  # The same, with your own tokens and roles.
  secret-apiserver --standalone --data-dir ./data --token-auth-file tokens.csv --rbac-dir ./rbac

  # In a Pod, behind the kube-apiserver of its cluster.
  secret-apiserver --bind-address 0.0.0.0 --tls-cert-file tls.crt --tls-private-key-file tls.key \
    --etcd-servers https://etcd:2379 --encryption-provider-config keys.yaml --encryption-provider-config-automatic-reload \
    --decrypt-audit-log-path /var/log/decrypt/decrypt.log --decrypt-audit-key-file decrypt-audit.key`

// NewCommand returns the command. It stops when ctx ends.
func NewCommand(ctx context.Context) *cobra.Command {
	utilruntime.Must(logsapi.AddFeatureGates(utilfeature.DefaultMutableFeatureGate))
	opts := options.NewOptions()
	command := &cobra.Command{
		Use:           "secret-apiserver",
		Short:         "Serve secrets that nobody can read back",
		Long:          long,
		Example:       example,
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := logging.Apply(opts.Logs, command, opts.Standalone.Enabled); err != nil {
				return err
			}
			if err := compatibility.DefaultComponentGlobalsRegistry.Set(); err != nil {
				return err
			}
			completed := opts.Complete()
			if err := errors.Join(completed.Validate()...); err != nil {
				return fmt.Errorf("%w; see --help", err)
			}
			return Run(ctx, completed, command.OutOrStdout())
		},
	}
	flags := opts.Flags()
	for _, name := range flags.Order {
		command.Flags().AddFlagSet(flags.FlagSets[name])
	}
	columns, _, _ := term.TerminalSize(command.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(command, flags, columns)
	addCommands(command, auditlog.New(), keys.NewCommand(ctx), keys.NewSealingKeysCommand(ctx),
		backup.NewCommand(ctx), backup.NewRestoreCommand(ctx), standalone.NewGrantCommand(), standalone.NewRevokeCommand())
	return command
}

// addCommands adds the tools. The help of the server lists them; they have cobra's help, since that of the server is
// about flags.
func addCommands(root *cobra.Command, commands ...*cobra.Command) {
	root.CompletionOptions.HiddenDefaultCmd = true
	var list strings.Builder
	for _, command := range commands {
		root.AddCommand(command)
		command.PersistentPreRun = quiet
		if command.LocalFlags().HasFlags() { // it does something itself, and has its own help
			fmt.Fprintf(&list, "\n  %-38s %s", command.CommandPath(), command.Short)
		} else {
			ownHelp(command)
		}
		for _, leaf := range command.Commands() {
			fmt.Fprintf(&list, "\n  %-38s %s", leaf.CommandPath(), leaf.Short)
		}
	}
	root.Long += "\n\nTools:\n" + list.String()
}

// quiet drops the log of libraries: a tool reports errors itself.
func quiet(*cobra.Command, []string) {
	klog.SetLogger(logr.Discard())
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
}

// ownHelp gives a command cobra's help without the log flags: nothing is logged.
func ownHelp(command *cobra.Command) {
	standard := &cobra.Command{}
	command.SetUsageFunc(standard.UsageFunc())
	command.SetHelpFunc(func(command *cobra.Command, args []string) {
		command.InheritedFlags().VisitAll(func(flag *pflag.Flag) { flag.Hidden = true })
		standard.HelpFunc()(command, args)
	})
}
