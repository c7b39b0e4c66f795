// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/term"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
)

// errExists is what a backup answers for a name that is taken.
var errExists = errors.New("exists already, and a backup never overwrites: name another file with --to")

// save writes a snapshot to target, which must not exist, and returns it opened. Until all of it is on the disk and
// checked it has another name, so that a file of the asked name is whole whatever happened.
func save(ctx context.Context, source *etcd.Source, target, root string, out io.Writer) (*file, error) {
	if err := checkTarget(target); err != nil {
		return nil, err
	}
	client, stop, err := source.OpenMember(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	temp, err := atomicfile.Create(target)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }() // it has the other name by then, or is no use
	err = fetch(ctx, client, temp, out)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return nil, fmt.Errorf("writing the backup: %w", err)
	}
	checked, err := openFile(ctx, temp.Name(), root, nil)
	if err != nil {
		return nil, fmt.Errorf("checking the new backup: %w", err)
	}
	if err := atomicfile.Publish(temp.Name(), target); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s %w", target, errExists)
		} else {
			err = fmt.Errorf("--to: %w", err)
		}
		return nil, errors.Join(err, checked.close())
	}
	checked.path = target
	return checked, nil
}

// stream writes a snapshot to out as it comes. A reader sees by the checksum at its end whether it is whole.
func stream(ctx context.Context, source *etcd.Source, out, progress io.Writer) error {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return errors.New("--to -: standard output is a terminal: redirect it to a file or pipe it to a program")
	}
	client, stop, err := source.OpenMember(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := fetch(ctx, client, out, progress); err != nil {
		return fmt.Errorf("writing the backup to standard output: %w", err)
	}
	return nil
}

func checkTarget(target string) error {
	_, err := os.Lstat(target)
	if err == nil {
		return fmt.Errorf("%s %w", target, errExists)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("--to: %w", err)
	}
	return nil
}

// fetch copies a snapshot as etcd sends it: the database, then its checksum.
func fetch(ctx context.Context, client etcd.Snapshotter, to, out io.Writer) error {
	var total int64
	if endpoints := client.Endpoints(); len(endpoints) > 0 {
		if status, err := client.Status(ctx, endpoints[0]); err == nil { // for the bar alone
			total = status.DbSize
		}
	}
	snapshot, err := client.SnapshotWithVersion(ctx)
	if err != nil {
		return fmt.Errorf("asking etcd for a snapshot: %w", err)
	}
	bar := cli.New(out, cli.Bytes)
	_, err = io.Copy(to, watched(ctx, snapshot.Snapshot, bar, total))
	bar.End()
	return errors.Join(err, snapshot.Snapshot.Close())
}
