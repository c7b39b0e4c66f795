// SPDX-License-Identifier: Apache-2.0

package options

import (
	"fmt"

	"github.com/spf13/pflag"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

// APIOptions are the server's own choices within the contract.
type APIOptions struct {
	// AllowedDecrypters is --allowed-decrypters.
	AllowedDecrypters []string
}

// NewAPIOptions returns the decrypters that the user's document lists.
func NewAPIOptions() *APIOptions {
	return &APIOptions{AllowedDecrypters: []string{"k6-cloud", "provisioning.grafana.app", "synthetic-monitoring"}}
}

// AddFlags adds the flags of this concern.
func (o *APIOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.AllowedDecrypters, "allowed-decrypters", o.AllowedDecrypters,
		"Names that spec.decrypters may list, comma separated. * allows any.")
}

func (o *APIOptions) validate() []error {
	var errs []error
	for _, name := range o.AllowedDecrypters {
		if name == validation.AnyDecrypter {
			continue
		}
		if faults := utilvalidation.IsValidLabelValue(name); name == "" || len(faults) > 0 {
			errs = append(errs, fmt.Errorf("--allowed-decrypters: %q is no decrypter name: use up to 63 letters, digits, '-', '_' or '.', or * for any", name))
		}
	}
	return errs
}
