// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"testing"
	"time"
)

// Wait returns how the server ended, nil for exit code 0, once it has. It fails the test when that takes too long.
func (s *Server) Wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-s.exited:
		return err
	case <-time.After(stopTimeout):
		t.Fatalf("the server did not end within %s", stopTimeout)
		return nil
	}
}
