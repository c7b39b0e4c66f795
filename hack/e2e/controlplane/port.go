// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// The ports lie below those that the system hands out by itself, so that one stays free while its process restarts.
const firstPort, lastPort = 10000, 30000

// FreePort returns a loopback port that nobody listens on, for a program that cannot choose one.
func FreePort() (int, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)                     //nolint:gosec // a port, not a secret
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // returns at once
		if err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}
