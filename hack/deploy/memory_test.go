// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
)

// TestMemoryLimits: the garbage collector is told of nine tenths of what the kernel allows, in every build.
func TestMemoryLimits(t *testing.T) {
	for name, folder := range builds {
		server := getPod(t, build(t, folder), "secret-apiserver").container(t, "secret-apiserver")
		hard := server.Resources.Limits.Memory().Value()
		for _, v := range server.Env {
			if v.Name != "GOMEMLIMIT" {
				continue
			}
			soft := resource.MustParse(strings.TrimSuffix(v.Value, "B")) // Go writes MiB, Kubernetes Mi
			if s := soft.Value(); s > hard*92/100 || s < hard*88/100 {
				t.Errorf("%s: GOMEMLIMIT is %s, of a limit of %s", name, v.Value, server.Resources.Limits.Memory())
			}
			hard = 0
		}
		if hard != 0 {
			t.Errorf("%s: no GOMEMLIMIT, or no limit", name)
		}
	}
}
