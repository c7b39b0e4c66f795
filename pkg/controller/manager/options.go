// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/term"

	"github.com/securevalue/secret-apiserver/pkg/controller/certificates"
	"github.com/securevalue/secret-apiserver/pkg/controller/rewrap"
	"github.com/securevalue/secret-apiserver/pkg/logging"
	"github.com/securevalue/secret-apiserver/pkg/tracing"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

// off disables a listener.
const off = "0"

// Options are the flags.
type Options struct {
	// Kubeconfig is --kubeconfig; empty means the ServiceAccount of the Pod.
	Kubeconfig string
	// LeaderElect is --leader-elect, LeaderElectNamespace the namespace of its Lease; empty means the Pod's.
	LeaderElect          bool
	LeaderElectNamespace string
	// MetricsBindAddress and HealthProbeBindAddress are HOST:PORT, or 0 for none.
	MetricsBindAddress, HealthProbeBindAddress string
	Rewrap                                     rewrap.Options
	Certificates                               certificates.Options
	Tracing                                    tracing.Options
	Logs                                       *logs.Options
}

// NewOptions returns all defaults.
func NewOptions() *Options {
	return &Options{
		LeaderElect: true, MetricsBindAddress: ":8080", HealthProbeBindAddress: ":8081",
		Rewrap: rewrap.NewClusterOptions(), Certificates: certificates.NewOptions(), Logs: logs.NewOptions(),
	}
}

// Flags returns the flags, grouped as --help prints them.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var fss cliflag.NamedFlagSets
	o.addFlags(fss.FlagSet("cluster"))
	o.Rewrap.AddFlags(fss.FlagSet("rewrap"))
	o.Certificates.AddFlags(fss.FlagSet("own CA"))
	o.Tracing.AddFlags(fss.FlagSet("traces"))
	logging.AddFlags(o.Logs, fss.FlagSet("logs"))
	return fss
}

func (o *Options) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig,
		"Kubeconfig file of the cluster. Defaults to the ServiceAccount of the Pod.")
	fs.BoolVar(&o.LeaderElect, "leader-elect", o.LeaderElect,
		"Use leader election, so that one of several replicas is active.")
	fs.StringVar(&o.LeaderElectNamespace, "leader-elect-namespace", o.LeaderElectNamespace,
		"Namespace of the Lease. Defaults to the namespace of the Pod.")
	fs.StringVar(&o.MetricsBindAddress, "metrics-bind-address", o.MetricsBindAddress,
		"Address for /metrics over HTTP (names of keys and counts, never a value), or 0 to disable it.")
	fs.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", o.HealthProbeBindAddress,
		"Address for /healthz and /readyz over HTTP, or 0 to disable it.")
}

// Validate returns all faults, each with its flag.
func (o *Options) Validate() []error {
	var errs []error
	if !o.LeaderElect && o.LeaderElectNamespace != "" {
		errs = append(errs, errors.New("--leader-elect-namespace needs --leader-elect"))
	}
	if o.LeaderElect && o.LeaderElectNamespace == "" && o.Kubeconfig != "" {
		errs = append(errs, errors.New("--leader-elect-namespace is required with --kubeconfig, or set "+
			"--leader-elect=false"))
	}
	errs = append(errs, validateAddress("--metrics-bind-address", o.MetricsBindAddress)...)
	errs = append(errs, validateAddress("--health-probe-bind-address", o.HealthProbeBindAddress)...)
	errs = append(errs, o.Rewrap.Validate()...)
	return append(errs, o.Certificates.Validate()...)
}

func validateAddress(flag, address string) []error {
	if address == off {
		return nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return []error{fmt.Errorf("%s: invalid address %q: expected HOST:PORT, :PORT, or 0 for none", flag, address)}
	}
	return nil
}

const long = `secret-controller-manager runs the controllers of secret.grafana.app in a cluster: after a key rotation
it has all SecureValues re-encrypted with the new key. It never holds a value: the API never returns one.`

const example = `  # In a Pod, with its ServiceAccount.
  secret-controller-manager

  # From outside of the cluster, without leader election.
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
			if err := errors.Join(opts.Validate()...); err != nil {
				return fmt.Errorf("%w; see --help", err)
			}
			return run(ctx, opts)
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
