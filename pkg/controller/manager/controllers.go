// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/securevalue/secret-apiserver/pkg/controller/certificates"
)

// setup adds the controllers that the flags ask for.
func (o CompletedOptions) setup(mgr ctrl.Manager) error {
	if err := certificates.SetupWithManager(mgr, o.Certificates); err != nil {
		return fmt.Errorf("setting up the own CA: %w", err)
	}
	return mgr.Add(whenServed{config: mgr.GetConfig(), rewrap: o.Rewrap})
}
