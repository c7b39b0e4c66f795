// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestStopLeavesNoGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := start(t, filepath.Join(t.TempDir(), "etcd"))
	if _, err := s.Client().Put(t.Context(), "/k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
}
