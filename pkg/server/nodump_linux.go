// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// forbidDumps keeps the memory of the process, which holds keys and values, out of core files, and away from other processes of the
// same user: see PR_SET_DUMPABLE in prctl(2). Root is not kept out.
func forbidDumps() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding core dumps: %w", err)
	}
	return nil
}
