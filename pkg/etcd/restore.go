// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"fmt"
	"io"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
)

// restoredToken makes the id of a restored member another than that of the one whose snapshot it is.
const restoredToken = "secret-apiserver-restored"

// Restore makes the data of a member in dir, which must be absent or empty, out of a snapshot file. The revision is raised
// by bump and everything up to there is marked compacted: a watch from before then ends, and nobody takes an old object
// for a new one. The snapshot's checksum is verified. On failure dir holds a part: remove it.
func Restore(snapshotFile, dir string, bump uint64) error {
	hook := newHook()
	done := make(chan struct{})
	go func() { // on a goroutine of its own because the hook may end it
		defer close(done)
		defer hook.recover()
		err := snapshot.NewV3(hook.logger(io.Discard)).Restore(snapshot.RestoreConfig{
			SnapshotPath: snapshotFile, OutputDataDir: dir,
			Name: memberName, PeerURLs: []string{peerURL}, InitialCluster: memberName + "=" + peerURL,
			InitialClusterToken: restoredToken, RevisionBump: bump, MarkCompacted: true,
		})
		if err != nil {
			hook.fail(err)
		}
	}()
	<-done
	select {
	case err := <-hook.failed:
		return fmt.Errorf("restoring %s into %s: %w", snapshotFile, dir, err)
	default:
		return nil
	}
}
