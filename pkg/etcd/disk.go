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
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
)

const (
	// AutoMinFree selects the margin by the disk: 256 MiB, or 5 % of a smaller file system.
	AutoMinFree = -1
	// LeastMinFree is the smallest margin in bytes: what etcd may write between two checks.
	LeastMinFree = 64 << 20

	mostMinFree = 256 << 20
	// reserveBytes are released for a start on a full disk: etcd needs a segment of its write-ahead log and a few small
	// files.
	reserveBytes = 24 << 20
	// leastReserve suffices for that, and smallReserve for a start after one that used the reserve.
	leastReserve = walSegmentBytes + 1<<20
	smallReserve = 2 << 20
	// aheadBytes are allocated to the database beyond its end, so that accepted writes can be committed on a full disk.
	aheadBytes = 64 << 20
	// walSegmentBytes is a quarter of etcd's default, for small disks. Segments of any size can be read.
	walSegmentBytes = 16 << 20
)

var (
	diskFree = metrics.NewGauge(&metrics.GaugeOpts{
		Name:           "secret_etcd_disk_free_bytes",
		Help:           "Free space on the file system of the embedded etcd.",
		StabilityLevel: metrics.ALPHA,
	})

	diskMargin = metrics.NewGauge(&metrics.GaugeOpts{
		Name:           "secret_etcd_disk_min_free_bytes",
		Help:           "Free space below which the server refuses writes (--data-dir-min-free); 0 if disabled.",
		StabilityLevel: metrics.ALPHA,
	})
)

func init() { wal.SegmentSizeBytes = walSegmentBytes } //nolint:gochecknoinits // the only way to set it

// disk tracks the free space of a member's file system, in bytes.
type disk struct {
	dir    string
	margin int64 // needed free for a write; 0 disables the check
	floor  int64 // needed free for housekeeping
	low    atomic.Bool
	ahead  allocation
}

// allocation is the disk space allocated to a file.
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

// space returns the bytes of the file system of path that are free for this user, and all of them.
func space(path string) (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, 0, fmt.Errorf("reading the free space of %s: %w", path, err)
	}
	size := int64(s.Bsize)                                     //nolint:unconvert // another type on other systems
	return int64(s.Bavail) * size, int64(s.Blocks) * size, nil //nolint:gosec // no disk has 2^63 bytes
}

// allow returns an error for a call that needs more free space. It allows every call if the free space is unknown.
func (d *disk) allow(call call) error {
	if d.margin == 0 || call == read {
		return nil
	}
	free, _, err := space(d.dir)
	if err != nil {
		return nil //nolint:nilerr // observe logs it
	}
	if need := d.needed(); call == write && free < need || free < d.floor {
		if free < need {
			d.setLow(true, free)
		}
		return ErrDiskFull
	}
	return nil
}

// needed is the margin, and an eighth more once it was reached: at the margin itself every other write would be
// refused.
func (d *disk) needed() int64 {
	if d.low.Load() {
		return d.margin + d.margin/8
	}
	return d.margin
}

// setLow records the state and logs changes.
func (d *disk) setLow(low bool, free int64) {
	if d.low.Swap(low) == low {
		return
	}
	if low {
		klog.ErrorS(ErrDiskFull, "Refusing writes until there is free space; reads continue", "dir", d.dir, "freeBytes",
			free, "minFreeBytes", d.margin)
	} else {
		klog.InfoS("The disk has free space again; accepting "+
			"writes", "dir", d.dir, "freeBytes", free, "minFreeBytes", d.margin)
	}
}

// observe measures the free space and allocates the reserve and the next blocks of the database.
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

// keepReserve creates the file that MakeRoom removes with the first of sizes that fits. It does not shrink the file.
func keepReserve(dir string, sizes ...int64) error {
	f, err := os.OpenFile(reserveFile(dir), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("creating the reserve file: %w", err)
	}
	info, err := f.Stat()
	for i := 0; err == nil && i < len(sizes) && info.Size() < sizes[i]; i++ {
		if fileutil.Preallocate(f, sizes[i], true) == nil {
			break
		}
	}
	return errors.Join(err, f.Close())
}

// MakeRoom removes the reserve file of a member if the disk is full. Call it before a start writes anything.
func MakeRoom(dir string) error {
	if free, _, err := space(dir); err != nil || free >= reserveBytes {
		return nil //nolint:nilerr // a first start, or an unusable folder, which its owner reports
	}
	if err := os.Remove(reserveFile(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the reserve file: %w", err)
	}
	return nil
}

// allocateAhead allocates the blocks for the next commits of the database without changing its size.
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
	size := info.Size() + aheadBytes
	if err := errors.Join(fileutil.Preallocate(f, size, false), f.Close()); err != nil {
		return fmt.Errorf("allocating disk space for %s: %w", database, err)
	}
	d.ahead = allocation{info, size}
	return nil
}
