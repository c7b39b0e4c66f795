// SPDX-License-Identifier: Apache-2.0

package controlplane

import "testing"

// Of a thousand ports out of twenty thousand some two dozen would come twice by chance.
func TestFreePortReturnsNoneTwice(t *testing.T) {
	seen := map[int]bool{}
	for range 1000 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d came twice", port)
		}
		seen[port] = true
	}
}
