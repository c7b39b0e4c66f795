// SPDX-License-Identifier: Apache-2.0

package aggregated

import (
	"net/http"
	"syscall"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// A server that is told to stop says that it is not ready and serves on, for those who have not heard of it yet.
func TestStop(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	c.API.Allow(allowUsers("ann"))
	s := harness.StartAggregated(t, c, "--shutdown-delay-duration=5s")
	proxy := s.As(t, c.ProxyCA.Client(t, harness.FrontProxy))
	s.Signal(t, syscall.SIGTERM)
	harness.Eventually(t, "it is not ready", func() bool { return s.Get(t, probe, "").Code != http.StatusOK })
	value := harness.Canary()
	if got := create(t, proxy, "default", "one", value, remote("ann")); got.Code != http.StatusCreated {
		t.Errorf("create while stopping: %d %s", got.Code, got.Body)
	}
	if err := s.Wait(t); err != nil {
		t.Errorf("it ended with %v", err)
	}
	s.Leaks(t, value)
}
