// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"errors"
	"fmt"
	"net"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"

	"github.com/securevalue/secret-apiserver/pkg/controller/certificates"
	"github.com/securevalue/secret-apiserver/pkg/controller/rewrap"
	"github.com/securevalue/secret-apiserver/pkg/logging"
	"github.com/securevalue/secret-apiserver/pkg/tracing"
)

// off switches a listener off.
const off = "0"

// Options is everything that flags can say.
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
		"Kubeconfig file of the cluster. Without it the ServiceAccount of the Pod is used.")
	fs.BoolVar(&o.LeaderElect, "leader-elect", o.LeaderElect,
		"Work only while holding a Lease, so that of several replicas one works.")
	fs.StringVar(&o.LeaderElectNamespace, "leader-elect-namespace", o.LeaderElectNamespace,
		"Namespace of the Lease. Without it the namespace of the Pod.")
	fs.StringVar(&o.MetricsBindAddress, "metrics-bind-address", o.MetricsBindAddress,
		"Address for /metrics over HTTP: names of keys and counts, never a value. 0 serves none.")
	fs.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", o.HealthProbeBindAddress,
		"Address for /healthz and /readyz over HTTP. 0 serves none.")
}

type completedOptions struct {
	*Options
}

// CompletedOptions can only come from Complete, so that no step is skipped.
type CompletedOptions struct {
	*completedOptions
}

// Complete fills in what follows from other flags. It does no I/O.
func (o *Options) Complete() CompletedOptions {
	return CompletedOptions{&completedOptions{o}}
}

// Validate returns every fault, each naming its flag.
func (o CompletedOptions) Validate() []error {
	var errs []error
	if !o.LeaderElect && o.LeaderElectNamespace != "" {
		errs = append(errs, errors.New("--leader-elect-namespace needs --leader-elect"))
	}
	if o.LeaderElect && o.LeaderElectNamespace == "" && o.Kubeconfig != "" {
		errs = append(errs, errors.New("--leader-elect-namespace is required with --kubeconfig, or set --leader-elect=false"))
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
		return []error{fmt.Errorf("%s: %q is no address: write HOST:PORT, :PORT, or 0 for none", flag, address)}
	}
	return nil
}
