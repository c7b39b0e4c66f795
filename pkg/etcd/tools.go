// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	bolt "go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"k8s.io/apiserver/pkg/storage/storagebackend"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

const (
	// toolTimeout is how long a tool waits for a database that does not answer.
	toolTimeout = 5 * time.Second
	// restoredToken gives a restored member another ID than the member that the snapshot is from.
	restoredToken = "secret-apiserver-restored"
)

// Source is the database that a tool reads: that of a data folder, or an external etcd.
type Source struct {
	// DataDir is the folder of a standalone server, running or stopped.
	DataDir string
	// Remote is used when DataDir is empty.
	Remote storagebackend.TransportConfig
}

// AddFlags adds the flags that name the database.
func (s *Source) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&s.DataDir, "data-dir", "", "Data folder of a standalone server, running or stopped.")
	fs.StringSliceVar(&s.Remote.ServerList, "etcd-servers", nil,
		"etcd servers to read (scheme://host:port), comma separated, instead of --data-dir.")
	fs.StringVar(&s.Remote.TrustedCAFile, "etcd-cafile", "", "CA bundle used to verify etcd's serving certificate.")
	fs.StringVar(&s.Remote.CertFile, "etcd-certfile", "", "Client certificate for etcd.")
	fs.StringVar(&s.Remote.KeyFile, "etcd-keyfile", "", "Private key of --etcd-certfile.")
}

// Validate returns every fault of the flags.
func (s *Source) Validate() []error {
	var errs []error
	if (s.DataDir == "") == (len(s.Remote.ServerList) == 0) {
		errs = append(errs, errors.New("name one of --data-dir and --etcd-servers"))
	}
	if (s.Remote.CertFile == "") != (s.Remote.KeyFile == "") {
		errs = append(errs, errors.New("--etcd-certfile and --etcd-keyfile go together"))
	}
	if len(s.Remote.ServerList) == 0 && s.Remote.TrustedCAFile+s.Remote.CertFile+s.Remote.KeyFile != "" {
		errs = append(errs, errors.New("--etcd-cafile, --etcd-certfile and --etcd-keyfile need --etcd-servers"))
	}
	return errs
}

// Open returns a client of the database, which has answered once. stop releases what the client needed.
func (s *Source) Open(ctx context.Context) (client *clientv3.Client, stop func(), err error) {
	if s.DataDir != "" {
		if client, stop, err = openDir(ctx, filepath.Join(s.DataDir, "etcd")); err != nil {
			return nil, nil, fmt.Errorf("--data-dir: %w", err)
		}
		return client, stop, nil
	}
	if s.Remote.KeyFile != "" {
		if err := reload.CheckFile(s.Remote.KeyFile, reload.Credentials); err != nil {
			return nil, nil, fmt.Errorf("--etcd-keyfile: %w", err)
		}
	}
	if client, stop, err = connect(ctx, s.Remote); err != nil {
		return nil, nil, fmt.Errorf("--etcd-servers: %w", err)
	}
	return client, stop, nil
}

// Snapshotter is the part of a client that a backup needs.
type Snapshotter interface {
	Endpoints() []string
	clientv3.Maintenance
}

// OpenMember returns a client of one member, the first of --etcd-servers that answers: a snapshot is of one member. Its
// answer was a linearizable read, so that this member has every write that was acknowledged before the call.
func (s *Source) OpenMember(ctx context.Context) (client *clientv3.Client, stop func(), err error) {
	if s.DataDir != "" {
		return s.Open(ctx)
	}
	var errs []error
	for _, endpoint := range s.Remote.ServerList {
		one := Source{Remote: s.Remote}
		one.Remote.ServerList = []string{endpoint}
		client, stop, err = one.Open(ctx)
		if err == nil {
			return client, stop, nil
		}
		errs = append(errs, err)
	}
	return nil, nil, errors.Join(errs...)
}

// openDir returns a client of the member that runs in dir, or else of one that runs until stop is called. It creates no
// database.
func openDir(ctx context.Context, dir string) (client *clientv3.Client, stop func(), err error) {
	if _, err := os.Stat(filepath.Join(dir, "member")); err != nil {
		return nil, nil, fmt.Errorf("no database in %s: %w", dir, err)
	}
	server, err := Start(ctx, Config{Dir: dir, quiet: true})
	if err == nil {
		return server.Client(), server.Stop, nil
	}
	if !errors.Is(err, ErrInUse) {
		return nil, nil, err
	}
	endpoint, err := os.ReadFile(endpointFile(dir))
	if err != nil {
		return nil, nil, fmt.Errorf("finding the server that uses %s: %w", dir, err)
	}
	return connect(ctx, storagebackend.TransportConfig{ServerList: []string{strings.TrimSpace(string(endpoint))}})
}

// connect returns a client that has been answered once.
func connect(
	ctx context.Context, remote storagebackend.TransportConfig,
) (client *clientv3.Client, stop func(), err error) {
	if client, err = New(remote); err != nil {
		return nil, nil, err
	}
	limited, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	if _, err := client.Get(limited, "\x00", clientv3.WithCountOnly()); err != nil {
		err = fmt.Errorf("no answer from etcd at %s: %w", strings.Join(remote.ServerList, ","), err)
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, func() { _ = client.Close() }, nil // returns only the error of its context
}

// Restore creates the data of a member from a snapshot in dir, which must be absent or empty. It verifies the checksum,
// raises the revision by bump and marks everything before as compacted: older watches end, and no old object is taken
// for a new one. Alarms are cleared: one of a full database would refuse every write, and is raised again if it has a
// reason. After an error remove dir.
func Restore(snapshotFile, dir string, bump uint64) error {
	hook := newHook(true)
	done := make(chan struct{})
	go func() { // the hook may end this goroutine
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

// clearAlarms deletes all alarms from the database of a member that does not run.
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
