// SPDX-License-Identifier: Apache-2.0

package options

import (
	"github.com/spf13/pflag"

	"github.com/securevalue/secret-apiserver/pkg/controller/rewrap"
)

// RewrapOptions say how a standalone server ends a key rotation. In a cluster secret-controller-manager does that.
type RewrapOptions struct {
	rewrap.Options
	// Enabled is --rewrap.
	Enabled bool
}

// NewRewrapOptions returns the defaults: a standalone server moves its values by itself.
func NewRewrapOptions() *RewrapOptions {
	return &RewrapOptions{Options: rewrap.NewOptions(), Enabled: true}
}

// AddFlags adds the flags of this concern.
func (o *RewrapOptions) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.Enabled, "rewrap", o.Enabled,
		"After a key rotation: seal stored values anew under the new key, in the background, until none is left under an old one.")
	o.Options.AddFlags(fs)
}
