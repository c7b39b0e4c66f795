// SPDX-License-Identifier: Apache-2.0

package rbac

import "sync/atomic"

// Store holds the snapshot in force. Decisions read it without a lock; the Watcher replaces it whole.
type Store struct {
	current atomic.Pointer[Snapshot]
}

// NewStore returns a store that holds a snapshot. A nil snapshot stands for the built-in roles only.
func NewStore(snapshot *Snapshot) *Store {
	if snapshot == nil {
		all, _ := withBuiltin(nil)
		snapshot = index(all, 0)
	}
	s := &Store{}
	s.current.Store(snapshot)
	return s
}

// Snapshot returns the snapshot in force.
func (s *Store) Snapshot() *Snapshot {
	return s.current.Load()
}

// Swap puts another snapshot in force.
func (s *Store) Swap(snapshot *Snapshot) {
	s.current.Store(snapshot)
}
