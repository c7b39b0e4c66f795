// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"k8s.io/klog/v2"
)

const (
	// AutoMinFree stands for the margin that fits the disk: 256 MiB, or 5 % of a smaller file system.
	AutoMinFree = -1
	// LeastMinFree is the smallest margin in bytes: what etcd may take before it is asked again.
	LeastMinFree = 64 << 20

	mostMinFree = 256 << 20
	// reserveBytes are given up for a start on a full disk: etcd needs a segment of its write-ahead log and a few small files.
	reserveBytes = 24 << 20
	// leastReserve does for that, and smallReserve for another start after one that has taken the reserve.
	leastReserve = walSegmentBytes + 1<<20
	smallReserve = 2 << 20
	// aheadBytes of the disk belong to the database beyond its end, so that what was accepted can be committed whatever fills the disk.
	aheadBytes = 64 << 20
	// walSegmentBytes is a fourth of etcd's default, for small disks. Segments of any size can be read.
	walSegmentBytes = 16 << 20
)

func init() { wal.SegmentSizeBytes = walSegmentBytes } //nolint:gochecknoinits // etcd has no other way to set it

// disk is the room on the file system of a member, in bytes.
type disk struct {
	dir    string
	margin int64 // what must be free for a write; 0 for no such check
	floor  int64 // what must be free for housekeeping
	low    atomic.Bool
	ahead  allocation
}

// allocation is what a file was given of the disk.
type allocation struct {
	file  fs.FileInfo
	bytes int64
}

// newDisk returns the disk of dir, which must exist.
func newDisk(dir string, minFree int64) (*disk, error) {
	_, total, err := space(dir)
	if err != nil {
		return nil, err
	}
	if minFree == AutoMinFree {
		minFree = max(LeastMinFree, min(mostMinFree, total/20))
	}
	d := &disk{dir: dir, margin: minFree, floor: minFree / 4}
	diskMargin.Set(float64(minFree))
	return d, nil
}

// space returns how many bytes of the file system of path are free for this user, and how many it has.
func space(path string) (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, 0, fmt.Errorf("reading the free space of %s: %w", path, err)
	}
	size := int64(s.Bsize)                                     //nolint:unconvert // of another type on other systems
	return int64(s.Bavail) * size, int64(s.Blocks) * size, nil //nolint:gosec // no disk has 2^63 bytes
}

// allow answers a caller of etcd. A file system that does not tell its room refuses nothing.
func (d *disk) allow(call Call) error {
	if d.margin == 0 || call == Read {
		return nil
	}
	free, _, err := space(d.dir)
	if err != nil {
		return nil //nolint:nilerr // as the comment says; observe logs it
	}
	if need := d.needed(); call == Write && free < need || free < d.floor {
		if free < need {
			d.setLow(true, free)
		}
		return ErrDiskFull
	}
	return nil
}

// needed is the margin, and an eighth more once it was reached: a disk at its margin would refuse every other write.
func (d *disk) needed() int64 {
	if d.low.Load() {
		return d.margin + d.margin/8
	}
	return d.margin
}

// setLow takes note of the state and logs a change.
func (d *disk) setLow(low bool, free int64) {
	if d.low.Swap(low) == low {
		return
	}
	if low {
		klog.ErrorS(ErrDiskFull, "Refusing writes until there is room; reads go on", "dir", d.dir, "freeBytes", free, "minFreeBytes", d.margin)
	} else {
		klog.InfoS("There is room on the disk again; accepting writes", "dir", d.dir, "freeBytes", free, "minFreeBytes", d.margin)
	}
}

// observe looks at the disk and keeps what belongs to the member allocated.
func (d *disk) observe(database string) error {
	free, _, err := space(d.dir)
	if err != nil {
		return err
	}
	diskFree.Set(float64(free))
	if d.margin == 0 {
		return nil
	}
	d.setLow(free < d.needed(), free)
	if free < d.margin+reserveBytes+aheadBytes {
		return keepReserve(d.dir, smallReserve)
	}
	return errors.Join(keepReserve(d.dir, reserveBytes), d.allocateAhead(database))
}

func reserveFile(dir string) string { return filepath.Join(dir, "reserve") }

// keepReserve makes the file that MakeRoom removes, of the first size that the disk has room for. A larger one stays.
func keepReserve(dir string, sizes ...int64) error {
	f, err := os.OpenFile(reserveFile(dir), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("making the reserve of the disk: %w", err)
	}
	info, err := f.Stat()
	for i := 0; err == nil && i < len(sizes) && info.Size() < sizes[i]; i++ {
		if fileutil.Preallocate(f, sizes[i], true) == nil {
			break
		}
	}
	return errors.Join(err, f.Close())
}

// MakeRoom gives up the reserve of a member that is about to start on a full disk. It is called before anything else is written there.
func MakeRoom(dir string) error {
	if free, _, err := space(dir); err != nil || free >= reserveBytes {
		return nil //nolint:nilerr // a first start, or a folder that cannot be used, which its owner reports
	}
	if err := os.Remove(reserveFile(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("giving up the reserve of the disk: %w", err)
	}
	return nil
}

// allocateAhead gives the database the blocks that its next commits need. Its size does not change.
func (d *disk) allocateAhead(database string) error {
	info, err := os.Stat(database)
	if err != nil {
		return err
	}
	if d.ahead.file != nil && os.SameFile(d.ahead.file, info) && info.Size()+aheadBytes/2 <= d.ahead.bytes {
		return nil
	}
	f, err := os.OpenFile(database, os.O_WRONLY, 0) //nolint:gosec // etcd's own file
	if err != nil {
		return err
	}
	wanted := info.Size() + aheadBytes
	if err := errors.Join(fileutil.Preallocate(f, wanted, false), f.Close()); err != nil {
		return fmt.Errorf("allocating room for %s: %w", database, err)
	}
	d.ahead = allocation{info, wanted}
	return nil
}
