// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// file is the file that is written. It knows how long the acknowledged part is.
type file struct {
	f     *os.File
	path  string
	size  int64
	lines int // that this process knows of
	// broken: a failed write left bytes behind size that are still there.
	broken bool
	// unsynced: the disk was not asked for what was written last.
	unsynced bool
	// allocated is the length up to which the file owns blocks of the disk.
	allocated int64
}

// aheadBytes of the disk belong to the file beyond its end, about 8,000 records: so many values are released on a full disk.
const aheadBytes = 4 << 20

// allocateAhead is of no consequence when it fails: then there is no such reserve, or the disk is full already.
func (f *file) allocateAhead() {
	if f.size+aheadBytes/2 > f.allocated && preallocate(f.f, f.size+aheadBytes) == nil {
		f.allocated = f.size + aheadBytes
	}
}

// openRegular opens path unless it is a symbolic link, a device or the like.
func openRegular(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0o600) //nolint:gosec // named by the operator
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file: name another one", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// createFile makes a new file at path, where nothing may be.
func createFile(path string) (*file, error) {
	f, err := openRegular(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	return &file{f: f, path: path}, nil
}

// reopenFile goes on in a file whose first size bytes are to stay.
func reopenFile(path string, size int64) (*file, error) {
	f, err := openRegular(path, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	opened := &file{f: f, path: path, size: size, lines: 1}
	if err := errors.Join(f.Chmod(0o600), opened.restore()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return opened, nil
}

// append writes data behind what is there, all of it or, as far as the log is concerned, none.
func (f *file) append(data []byte, lines int, sync bool) error {
	if f.broken {
		if err := f.restore(); err != nil {
			return err
		}
	}
	_, err := f.f.Write(data)
	if err == nil && sync {
		err = f.f.Sync()
	}
	if err != nil {
		// After a failed fsync the pages count as clean without being on disk: they are cut off and written anew.
		return errors.Join(err, f.restore())
	}
	f.size += int64(len(data))
	f.lines += lines
	f.unsynced = !sync
	f.allocateAhead()
	return nil
}

// giveBack frees what allocateAhead took, of a file that gets no more records.
func (f *file) giveBack() {
	_ = f.f.Truncate(f.size) // costs some room at most
}

// restore cuts off what a failed write left. Until that works nothing is appended.
func (f *file) restore() error {
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

// check says what somebody else did to the file: records must not go where nobody finds them.
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
		return fmt.Errorf("%s was written to by somebody else", f.path)
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
