// SPDX-License-Identifier: Apache-2.0

// Package server is the command secret-apiserver: it reads the flags, starts what a standalone server needs, runs the
// API server and stops everything in order. It must never write outside of the data folder and the files that flags
// name.
package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/term"

	"github.com/securevalue/secret-apiserver/pkg/logging"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
	"github.com/securevalue/secret-apiserver/pkg/tools/auditlog"
	"github.com/securevalue/secret-apiserver/pkg/tools/backup"
	"github.com/securevalue/secret-apiserver/pkg/tools/keys"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

const long = `secret-apiserver serves SecureValue of secret.grafana.app/v1beta1: secrets that anybody with the right may write and
nobody can read back. Values are sealed before they reach etcd.`

const example = `  # Everything in one folder: embedded etcd, generated keys, certificate and admin token.
  secret-apiserver --standalone --data-dir ./data

  # The same with your own tokens and roles.
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
	addCommands(command, auditlog.New(), keys.NewCommand(ctx), backup.NewCommand(ctx), backup.NewRestoreCommand(ctx))
	return command
}
