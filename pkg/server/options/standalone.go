// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"path/filepath"

	"github.com/spf13/pflag"
)

// StandaloneOptions say how the server runs with nothing beside it.
type StandaloneOptions struct {
	// Enabled is --standalone.
	Enabled bool
	// DataDir is --data-dir.
	DataDir string
	// SANs is --tls-san.
	SANs []string
}

// NewStandaloneOptions returns the defaults.
func NewStandaloneOptions() *StandaloneOptions {
	return &StandaloneOptions{DataDir: "./data"}
}

// AddFlags adds the flags of this concern.
func (o *StandaloneOptions) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.Enabled, "standalone", o.Enabled,
		"Run without a cluster: embedded etcd, generated CA, keys and admin token, all in --data-dir, RBAC from --rbac-dir. "+
			"On a terminal only warnings and errors are logged, unless -v is given.")
	fs.StringVar(&o.DataDir, "data-dir", o.DataDir,
		"Folder that holds everything a standalone server keeps. Created with mode 0700. "+
			"Back it up by secret-apiserver backup, and its encryption.yaml apart from that.")
	fs.StringSliceVar(&o.SANs, "tls-san", o.SANs,
		"Additional DNS name or IP address for the serving certificate that a standalone server issues. May be repeated. "+
			"The host name and --bind-address are always in it, and all addresses of the host with 0.0.0.0 or ::.")
}

func (o *StandaloneOptions) complete() {
	if o.DataDir != "" {
		o.DataDir = filepath.Clean(o.DataDir)
	}
}

func (o *StandaloneOptions) validate() []error {
	if o.Enabled && o.DataDir == "" {
		return []error{errors.New("--data-dir must not be empty")}
	}
	return nil
}
