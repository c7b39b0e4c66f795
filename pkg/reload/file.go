// SPDX-License-Identifier: Apache-2.0

package reload

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
)

// DefaultInterval is how often files are read to see whether they changed. A change counts after two reads.
const DefaultInterval = time.Second

// ErrRetry says, when an error of Apply wraps it, that the same content may be accepted later: it is tried again at each
// check. Content that is refused for another reason is tried once.
var ErrRetry = errors.New("it is tried again")

// File is one file of the operator. Its methods are for one goroutine, except for Fault.
type File struct {
	// Flag is the name of the flag that gave the path, without dashes.
	Flag string
	// Path is where the file is, Holds what is in it: a file to which others have more access than that allows is not read.
	Path  string
	Holds Content
	// Apply puts the content in force. When it fails it has changed nothing. It must not keep data, which is wiped.
	Apply func(ctx context.Context, data []byte) error
	// Done is told how each reload ended: nil when new content is in force. A failure is logged already.
	Done func(err error)

	seen    [sha256.Size]byte // of the last read
	tried   [sha256.Size]byte // of the last content given to Apply
	inForce [sha256.Size]byte // of the last content that Apply took
	gone    bool              // the last read failed
	fault   atomic.Pointer[error]
}

// Load reads the file for the first time. It returns the error of reading or of Apply, with flag and path.
func (f *File) Load(ctx context.Context) error {
	data, err := ReadFile(f.Path, f.Holds)
	if err != nil {
		return fmt.Errorf("--%s: %w", f.Flag, err)
	}
	f.seen = sha256.Sum256(data)
	return f.use(ctx, data, f.seen)
}

// Fault returns why the file as it was last seen is not in force, or nil when it is.
func (f *File) Fault() error {
	if fault := f.fault.Load(); fault != nil {
		return *fault
	}
	return nil
}

// Run checks the file until ctx ends.
func (f *File) Run(ctx context.Context, every time.Duration) { Every(ctx, every, f.Check) }

// Check reads the file once, and applies content that is new and was the same at the check before. When asked, by SIGHUP,
// the file is taken for complete, and one that was refused is tried again.
func (f *File) Check(ctx context.Context, asked bool) {
	data, err := ReadFile(f.Path, f.Holds)
	if err != nil {
		f.unreadable(err)
		return
	}
	f.gone = false
	sum := sha256.Sum256(data)
	settled := sum == f.seen || asked
	f.seen = sum
	switch {
	case !settled:
	case sum == f.inForce:
		f.mended()
	case sum != f.tried || asked:
		f.apply(ctx, data, sum)
	}
}

func (f *File) apply(ctx context.Context, data []byte, sum [sha256.Size]byte) {
	if err := f.use(ctx, data, sum); err != nil {
		if errors.Is(err, ErrRetry) {
			f.tried = [sha256.Size]byte{}
		}
		f.failed(err)
		return
	}
	f.fault.Store(nil)
	klog.InfoS("File reloaded", "flag", f.Flag, "path", f.Path)
	f.Done(nil)
}

// mended tells that the content in force is back after a fault.
func (f *File) mended() {
	if f.fault.Load() == nil {
		return
	}
	f.fault.Store(nil)
	f.tried = f.inForce
	klog.InfoS("File is again the one in force", "flag", f.Flag, "path", f.Path)
	f.Done(nil)
}

// use applies data and wipes it: it may hold tokens or keys.
func (f *File) use(ctx context.Context, data []byte, sum [sha256.Size]byte) error {
	defer clear(data)
	f.tried = sum
	if err := f.Apply(ctx, data); err != nil {
		return fmt.Errorf("--%s %q: %w", f.Flag, f.Path, err)
	}
	f.inForce = sum
	return nil
}

// unreadable reports a file that cannot be read, once until it can be read again.
func (f *File) unreadable(err error) {
	if f.gone {
		return
	}
	f.gone = true
	f.failed(fmt.Errorf("--%s: %w", f.Flag, err))
}

func (f *File) failed(err error) {
	f.fault.Store(&err)
	klog.ErrorS(err, "File not reloaded, its last good content stays in force")
	f.Done(err)
}
