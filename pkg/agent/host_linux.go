// SPDX-License-Identifier: Apache-2.0

package agent

import "golang.org/x/sys/unix"

// inMemory reports whether a directory is in a file system without a disk.
func inMemory(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && (s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC)
}
