// SPDX-License-Identifier: Apache-2.0

// Package nodump keeps the memory of a process to itself. It must never change what a child process may do.
package nodump

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Forbid keeps the memory of the process, which contains keys and values, out of core files and from other
// processes of the same user, except root: see PR_SET_DUMPABLE in prctl(2).
func Forbid() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding core dumps: %w", err)
	}
	return nil
}
