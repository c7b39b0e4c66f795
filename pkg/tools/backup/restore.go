// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

const restoreLong = `Create the folder of a standalone server from a backup. The folder must be absent or empty. A
backup that was cut or changed is refused, and an interrupted restore leaves no database.

Put the keys of the backup's time into the folder as encryption.yaml, or name them with the server's
--encryption-provider-config, and start the server. With that file as --encryption-provider-config of this command, a
backup with values under a key that it lacks is refused. The server creates a new certificate authority, a new admin
token and a new decrypt audit log.

Revisions continue above all earlier ones: a watch from before gets 410 Gone and lists again.

Restore a cluster of etcd members with 'etcdutl snapshot restore' from the same file: see docs/operations.md.`

const restoreExample = `  secret-apiserver restore --from backup.db --data-dir ./restored
  cp encryption.yaml ./restored/
  secret-apiserver --standalone --data-dir ./restored`

const (
	// leftover marks the folder of a restore that is in progress or was interrupted.
	leftover = ".restore-"
	// growInterval is how often the size of the growing database is read.
	growInterval = 200 * time.Millisecond
)

// restoreOptions are the flags of restore.
type restoreOptions struct {
	from, dataDir, prefix string
	verify                verifyOptions
}

// NewRestoreCommand returns the command `restore`. It stops when ctx ends.
func NewRestoreCommand(ctx context.Context) *cobra.Command {
	var opts restoreOptions
	command := cli.NewCommand("restore", "Create the folder of a standalone server from a backup",
		restoreLong, restoreExample, func(command *cobra.Command) error { return opts.run(ctx, command) })
	var flags cliflag.NamedFlagSets
	fs := flags.FlagSet("restore")
	fs.StringVar(&opts.from, "from", "", "Backup to restore.")
	fs.StringVar(&opts.dataDir, "data-dir", "", "Folder to create. It must be absent or empty.")
	addPrefix(fs, &opts.prefix)
	opts.verify.addFlags(fs, "First open every value with the keys of --encryption-provider-config, and restore "+
		"nothing when one does not open.", "File with the keys for the values of the backup. "+
		"A backup with values under other keys is refused.")
	cli.AddFlags(command, flags)
	return command
}

func (o *restoreOptions) run(ctx context.Context, command *cobra.Command) error {
	var noKeys error // which alone, without --verify, are compared by name
	if o.verify.enabled {
		noKeys = o.verify.validate()
	}
	err := cli.UsageError(noKeys, checkPrefix(o.prefix),
		cli.Required("from", o.from), cli.Required("data-dir", o.dataDir))
	if err != nil {
		return err
	}
	if err := checkFolder(o.dataDir); err != nil {
		return err
	}
	opener, err := o.verify.open(ctx, o.prefix)
	if err != nil {
		return err
	}
	bar := cli.New(command.ErrOrStderr(), cli.Bytes)
	f, err := openFile(ctx, o.from, sealed.Roots(o.prefix), bar)
	bar.End()
	if err != nil {
		return fmt.Errorf("%w; nothing was restored", err)
	}
	defer func() { _ = f.close() }() // only read
	if opener != nil {
		if err := f.missing(ctx, opener); err != nil {
			return fmt.Errorf("%w; nothing was restored: give the keys of the backup's time, "+
				"or restore without --encryption-provider-config", err)
		}
	}
	if o.verify.enabled {
		if err := f.verify(ctx, opener, command); err != nil {
			return fmt.Errorf("%w; nothing was restored: give the keys of the backup's time, "+
				"or restore without --verify", err)
		}
	}
	bump := revisionBump(f.revision, time.Now())
	bar = cli.New(command.ErrOrStderr(), cli.Bytes)
	err = restore(ctx, f, o.dataDir, bump, bar)
	bar.End()
	if err != nil {
		return err
	}
	now := f.revision + int64(bump) //nolint:gosec // far below
	_, err = fmt.Fprintf(command.OutOrStdout(), "%s: %s of revision %d, which is now %d. The keys were not in the "+
		"backup: put those of its time at %s, then start the server\n", o.dataDir,
		f.content(), f.revision, now, filepath.Join(o.dataDir, "encryption.yaml"))
	return err
}

// checkFolder refuses a folder that holds anything but leftovers of an interrupted restore, or that a server would
// refuse.
func checkFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), leftover) {
			return fmt.Errorf("--data-dir: %s holds %s: restore into a folder that is empty or absent; "+
				"nothing was changed", dir, entry.Name())
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("--data-dir: %s is accessible to other users (mode %04o): run chmod 700 %[1]s", dir, mode)
	}
	return nil
}

// restore creates the database in a folder of another name inside of dir, so that dir may be a mount, and renames it
// when it is on the disk.
func restore(ctx context.Context, from *file, dir string, bump uint64, bar *cli.Bar) (err error) {
	_, statErr := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := removeLeftovers(dir); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(dir, leftover)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	defer func() {
		_ = os.RemoveAll(temp) // empty by now, or useless
		if err != nil && errors.Is(statErr, fs.ErrNotExist) {
			_ = os.Remove(dir) // created here; fails when something else put a file there
		}
	}()
	database := filepath.Join(temp, "etcd")
	if err := os.Mkdir(database, 0o700); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	stop := grow(filepath.Join(database, "member", "snap", "db"), bar, from.size)
	err = etcd.Restore(from.path, database, bump)
	stop()
	if err != nil {
		return err
	}
	if err := syncTree(database); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted, nothing was restored: %w", err)
	}
	if err := os.Rename(database, filepath.Join(dir, "etcd")); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	return atomicfile.SyncDir(dir)
}

// grow shows the size of a file until stop is called: etcd's restore reports no progress.
func grow(path string, bar *cli.Bar, total int64) (stop func()) {
	if bar == nil {
		return func() {}
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var last int64
		for {
			select {
			case <-ended:
				return
			case <-time.After(growInterval):
			}
			if info, err := os.Stat(path); err == nil {
				bar.Add(info.Size()-last, total)
				last = info.Size()
			}
		}
	}()
	return func() {
		close(ended)
		<-done
	}
}

// lock keeps a second restore out of dir. The kernel releases it however the process ends.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir) //nolint:gosec // named by a flag
	if err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("--data-dir: another restore into %s is running", dir), d.Close())
	}
	return func() { _ = d.Close() }, nil
}

func removeLeftovers(dir string) error {
	if err := checkFolder(dir); err != nil { // again, now that no other restore runs
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("removing the leftovers of an interrupted restore: %w", err)
		}
	}
	return nil
}

// syncTree makes everything below dir durable, before its rename.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return atomicfile.SyncDir(path) // a file is synced by the same two calls
	})
}

// A restore raises the revision above every one that was ever handed out, or a watch from before would wait in silence
// and miss changes. The restored revision is a function of the clock alone, which grows faster than etcd can write: by
// induction no revision at a time is above it, whatever was restored, backed up and written before (models/backup.pml).
// A bump that is added to the revision of the backup does not hold: after a restore of A, and of a backup B made since,
// another restore of A would end below what clients of B have seen.
const (
	// writesPerSecond is what etcd's own benchmark (etcd.io/docs, "Performance") reaches with a thousand clients and
	// values of 256 bytes.
	writesPerSecond = 50_000
	// leastBump is for a clock that is behind: etcd's documentation of disaster recovery recommends as much for a week.
	leastBump = 1_000_000_000
)

// epoch is before the first backup that this program can have written.
var epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// revisionBump is how much a restore at a time raises the revision of a backup. The result stays below 2^53, which a
// JSON number holds exactly, for thousands of years. A backup that is already above it is from a clock that was ahead,
// or of a database whose revision another tool raised, and gets all of it on top.
func revisionBump(revision int64, now time.Time) uint64 {
	target := leastBump + writesPerSecond*uint64(max(now.Sub(epoch)/time.Second, 0))
	if backup := uint64(max(revision, 0)); backup < target {
		return target - backup
	}
	return target
}
