// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/term"

	"github.com/securevalue/secret-apiserver/pkg/logging"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

const long = `secret-controller-manager looks after the SecureValues of secret.grafana.app in a cluster: it moves them to the key that
the server seals with now. It never holds a value: no read of the API carries one.`

const example = `  # In a Pod, with its ServiceAccount.
  secret-controller-manager

  # From outside of the cluster, without a second replica to wait for.
  secret-controller-manager --kubeconfig ~/.kube/config --leader-elect=false`

// NewCommand returns the command. It stops when ctx ends.
func NewCommand(ctx context.Context) *cobra.Command {
	utilruntime.Must(logsapi.AddFeatureGates(utilfeature.DefaultMutableFeatureGate))
	opts := NewOptions()
	command := &cobra.Command{
		Use:           "secret-controller-manager",
		Short:         "Run the controllers of SecureValue in a cluster",
		Long:          long,
		Example:       example,
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := logging.Apply(opts.Logs, command, false); err != nil {
				return err
			}
			completed := opts.Complete()
			if err := errors.Join(completed.Validate()...); err != nil {
				return fmt.Errorf("%w; see --help", err)
			}
			return Run(ctx, completed)
		},
	}
	flags := opts.Flags()
	for _, name := range flags.Order {
		command.Flags().AddFlagSet(flags.FlagSets[name])
	}
	columns, _, _ := term.TerminalSize(command.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(command, flags, columns)
	return command
}
