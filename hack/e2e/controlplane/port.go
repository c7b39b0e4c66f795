// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// The ports lie below those that the system hands out by itself, so that one stays free while its process restarts.
const firstPort, lastPort = 10000, 30000

// drawn holds the ports that were returned: two programs of one test must not get the same before either listens.
var drawn sync.Map

// FreePort returns a loopback port that nobody listens on, for a program that cannot choose one. It returns none twice.
func FreePort() (int, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)                     //nolint:gosec // a port, not a secret
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // returns at once
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return 0, err
		}
		if _, taken := drawn.LoadOrStore(port, true); !taken {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}
