// SPDX-License-Identifier: Apache-2.0

// Package fuzzer fills the types of secret.grafana.app with random data for round-trip tests. It must not set what is
// lost in a conversion: the sealed bytes of the hub and the externalID of v1beta1.
package fuzzer

import (
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/randfill"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// Funcs returns the fuzzer functions of the group.
func Funcs(serializer.CodecFactory) []any {
	return []any{
		func(sv *secret.SecureValue, c randfill.Continue) {
			c.FillNoCustom(sv)
			sv.Sealed, sv.SealedFrom = nil, nil
		},
		func(status *v1beta1.SecureValueStatus, c randfill.Continue) {
			c.FillNoCustom(status)
			status.ExternalID = ""
		},
		// For the pointer: an empty value differs from an absent one.
		func(v **sensitive.Value, c randfill.Continue) {
			*v = nil
			if c.Bool() {
				*v = sensitive.New(c.String(0))
			}
		},
	}
}
