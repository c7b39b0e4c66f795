// SPDX-License-Identifier: Apache-2.0

package version

import "testing"

// TestSplit parses versions with and without the build metadata of hack/version-ldflags.sh.
func TestSplit(t *testing.T) {
	for stamp, want := range map[string][2]string{
		"v1.37.2+v0.3.0-rc.1":       {"v0.3.0-rc.1", "v1.37.2"},
		"v1.37.2":                   {"v0.0.0-dev", "v1.37.2"},
		"v0.0.0-master+$Format:%H$": {"v0.0.0-dev", "v0.0.0-master"},
	} {
		if own, kubernetes := split(stamp); [2]string{own, kubernetes} != want {
			t.Errorf("%s: %s and %s", stamp, own, kubernetes)
		}
	}
}
