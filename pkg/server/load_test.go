// SPDX-License-Identifier: Apache-2.0

package server

import (
	"testing"
	"time"
)

// TestDecryptPortForgetsQuickly: a revoked permission may work on the decrypt port for at most 500 ms.
func TestDecryptPortForgetsQuickly(t *testing.T) {
	t.Parallel()
	if decryptCacheTTL > 500*time.Millisecond {
		t.Errorf("%s", decryptCacheTTL)
	}
}
