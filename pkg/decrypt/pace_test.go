// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// An answer with a "not found" leaves at the next point of the grid, however long the read took; any other one leaves
// at once. The clock is that of a bubble.
func TestNotFoundLeavesOnTheGrid(t *testing.T) {
	for _, test := range []struct {
		names []string
		waits bool
	}{
		{[]string{"a"}, false},
		{[]string{"secret"}, false},
		{[]string{"a", "secret", "changed"}, false},
		{[]string{"absent"}, true},
		{[]string{"foreign"}, true},
		{[]string{"damaged"}, true},
		{[]string{"deleted"}, true},
		{[]string{"a", "absent"}, true},
	} {
		for _, read := range []time.Duration{0, time.Microsecond, notFoundPace - 1, notFoundPace + time.Millisecond} {
			if test.names[0] == "secret" {
				read = 0 // nothing is read
			}
			t.Run(fmt.Sprint(test.names, " read in ", read), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &steps{takes: read, openErr: map[string]error{"changed": sealed.ErrBound}}
					started, want := time.Now(), read
					if test.waits {
						want = read.Truncate(notFoundPace) + notFoundPace
					}
					_, err := newTestService(s).Decrypt(t.Context(), Request{User: anybody, Namespace: "ns", Names: test.names})
					if took := time.Since(started); err != nil || took != want {
						t.Errorf("answered after %s, want %s: %v", took, want, err)
					}
				})
			})
		}
	}
}
