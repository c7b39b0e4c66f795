// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
)

// file is the active file.
type file struct {
	f     *os.File
	path  string
	size  int64 // of the acknowledged part
	lines int   // that this process knows of
	// broken: a failed write left bytes after size that are still there.
	broken bool
	// unsynced: the last write was not synced.
	unsynced bool
	// allocated is the length up to which the file has blocks on the disk.
	allocated int64
}

// aheadBytes on the disk are reserved after the end of the file, about 8,000 records: that many values can still be
// released on a full disk.
const aheadBytes = 4 << 20

// allocateAhead ignores errors: then nothing is reserved, or the disk is full already.
func (f *file) allocateAhead() {
	if f.size+aheadBytes/2 > f.allocated && fileutil.Preallocate(f.f, f.size+aheadBytes, false) == nil {
		f.allocated = f.size + aheadBytes
	}
}

// openRegular opens path unless it is a symbolic link, a device or the like.
func openRegular(path string, flags int) (*os.File, error) {
	flags |= syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_CLOEXEC
	f, err := os.OpenFile(path, flags, 0o600) //nolint:gosec // named by the operator
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file: name another one", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// createFile creates a file at path, where nothing may be.
func createFile(path string) (*file, error) {
	f, err := openRegular(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	return &file{f: f, path: path}, nil
}

// reopenFile opens a file to append after its first size bytes.
func reopenFile(path string, size int64) (*file, error) {
	f, err := openRegular(path, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	opened := &file{f: f, path: path, size: size, lines: 1}
	if err := errors.Join(f.Chmod(0o600), opened.truncate()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return opened, nil
}

// append writes all of data or, as far as the log is concerned, nothing.
func (f *file) append(data []byte, lines int, sync bool) error {
	if f.broken {
		if err := f.truncate(); err != nil {
			return err
		}
	}
	_, err := f.f.Write(data)
	if err == nil && sync {
		err = f.f.Sync()
	}
	if err != nil {
		// After a failed fsync the pages count as clean without being on disk: cut them off, to be written again.
		return errors.Join(err, f.truncate())
	}
	f.size += int64(len(data))
	f.lines += lines
	f.unsynced = !sync
	f.allocateAhead()
	return nil
}

// truncate cuts off what a failed write left. Until that works nothing is appended.
func (f *file) truncate() error {
	err := f.f.Truncate(f.size)
	f.broken = err != nil
	f.allocated = 0
	f.allocateAhead()
	return err
}

func (f *file) sync() error {
	if !f.unsynced {
		return nil
	}
	err := f.f.Sync()
	f.unsynced = err != nil
	return err
}

// check returns what something else did to the file: records must not go where nobody finds them.
func (f *file) check() error {
	mine, err := f.f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s was deleted or moved", f.path)
	case err != nil:
		return err
	case !os.SameFile(mine, named):
		return fmt.Errorf("%s was replaced", f.path)
	case !f.broken && mine.Size() < f.size:
		return fmt.Errorf("%s was cut from %d to %d bytes", f.path, f.size, mine.Size())
	case !f.broken && mine.Size() > f.size:
		return fmt.Errorf("something else wrote to %s", f.path)
	}
	return nil
}

func (f *file) close(sync bool) error {
	var err error
	if sync {
		err = f.sync()
	}
	return errors.Join(err, f.f.Close())
}
