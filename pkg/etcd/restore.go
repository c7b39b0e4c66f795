// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/storage/schema"
)

// restoredToken makes the id of a restored member another than that of the one whose snapshot it is.
const restoredToken = "secret-apiserver-restored"

// Restore makes the data of a member in dir, which must be absent or empty, out of a snapshot file. The revision is raised
// by bump and everything up to there is marked compacted: a watch from before then ends, and nobody takes an old object
// for a new one. The snapshot's checksum is verified. An alarm is not restored: one of a database that was full would refuse
// every write, and is raised anew if it has a reason. On failure dir holds a part: remove it.
func Restore(snapshotFile, dir string, bump uint64) error {
	hook := newHook(true)
	done := make(chan struct{})
	go func() { // on a goroutine of its own because the hook may end it
		defer close(done)
		defer hook.recover()
		err := snapshot.NewV3(hook.logger(io.Discard)).Restore(snapshot.RestoreConfig{
			SnapshotPath: snapshotFile, OutputDataDir: dir,
			Name: memberName, PeerURLs: []string{peerURL}, InitialCluster: memberName + "=" + peerURL,
			InitialClusterToken: restoredToken, RevisionBump: bump, MarkCompacted: true,
		})
		if err == nil {
			err = clearAlarms(filepath.Join(dir, "member", "snap", "db"))
		}
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

// clearAlarms takes all alarms out of the database of a member that does not run.
func clearAlarms(database string) error {
	db, err := bolt.Open(database, 0o600, &bolt.Options{NoFreelistSync: true}) // as etcd opens it
	if err != nil {
		return fmt.Errorf("clearing the alarms: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if tx.Bucket(schema.Alarm.Name()) == nil {
			return nil
		}
		if err := tx.DeleteBucket(schema.Alarm.Name()); err != nil {
			return err
		}
		_, err := tx.CreateBucket(schema.Alarm.Name())
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("clearing the alarms: %w", err)
	}
	return nil
}
