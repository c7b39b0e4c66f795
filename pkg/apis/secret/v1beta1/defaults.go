// SPDX-License-Identifier: Apache-2.0

package v1beta1

import "k8s.io/apimachinery/pkg/runtime"

func init() {
	localSchemeBuilder.Register(addDefaultingFuncs)
}

// addDefaultingFuncs registers the generated defaults. The contract has none today: every field is either given by
// the writer or set by the server.
func addDefaultingFuncs(scheme *runtime.Scheme) error {
	return RegisterDefaults(scheme)
}
