// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"net"
	"testing"
	"time"
)

// patience bounds a wait on a busy machine. The longest period that a test waits for is a minute.
const patience = 150 * time.Second

// Eventually waits until done returns true and fails the test when that takes too long.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("timed out waiting until %s", what)
}

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

// Listen listens on a free port of loopback until the test ends.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// FreeAddress returns an address of loopback that nothing listens on, for a server that keeps it over restarts.
func FreeAddress(t testing.TB) string {
	t.Helper()
	listener := Listen(t)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

// FreePort returns the port of such an address.
func FreePort(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}
