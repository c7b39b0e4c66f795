// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"errors"
	"testing"
)

func TestUndeclaredFields(t *testing.T) {
	const prefix = "failed to create typed patch object (default/x; secret.grafana.app/v1beta1, Kind=SecureValue): "
	for _, test := range []struct{ name, text, want string }{
		{"one", prefix + ".spec.vlaue: field not declared in schema", `unknown field "spec.vlaue"`},
		{
			"two", prefix + "errors:\n  .spec.vlaue: field not declared in schema\n  .sepc: field not declared in schema",
			`unknown field "spec.vlaue", unknown field "sepc"`,
		},
		{
			"beside a wrong type", prefix + "errors:\n  .spec.value: expected string, got &{canary}\n  .sepc: field not declared in schema",
			`unknown field "sepc"`,
		},
		{"a wrong type alone", prefix + ".spec.value: expected string, got &{canary}", ""},
		{"a value that looks like a fault", prefix + ".spec.value: expected string, got &{.canary: field not declared in schema}", ""},
		{"a key that quotes something", prefix + `.spec.items[name="canary"]: field not declared in schema`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := undeclaredFields(errors.New(test.text)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
