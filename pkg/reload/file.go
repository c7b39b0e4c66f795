// SPDX-License-Identifier: Apache-2.0

package reload

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
)

// DefaultInterval is how often files are read to see whether they changed. A change counts after two reads.
const DefaultInterval = time.Second

// ErrRetry is wrapped by an error of Apply when the same content may be accepted later: it is retried at each
// check. Content that is refused for another reason is tried once.
var ErrRetry = errors.New("it is tried again")

// File is one file of the operator. Only Fault is safe for concurrent use.
type File struct {
	// Flag is the name of the flag that gave the path, without dashes.
	Flag string
	// Path is the path of the file, Holds its kind of content: a file to which others have more access than that allows
	// is not read.
	Path  string
	Holds Content
	// Optional makes a file or folder that does not exist an empty one.
	Optional bool
	// Read returns the content. Nil means ReadFile with Path and Holds.
	Read func() ([]byte, error)
	// Apply uses the content, or changes nothing and returns an error. It must not keep data, which is cleared.
	Apply func(ctx context.Context, data []byte) error

	seen    [sha256.Size]byte // content or error of the last read
	tried   [sha256.Size]byte // last content given to Apply, or last error reported
	inForce [sha256.Size]byte // last content that Apply accepted
	fault   atomic.Pointer[error]
}

// Load reads the file for the first time. It returns the error of reading or of Apply, with flag and path.
func (f *File) Load(ctx context.Context) error {
	data, err := f.read()
	if err != nil {
		return fmt.Errorf("--%s: %w", f.Flag, err)
	}
	f.seen = sha256.Sum256(data)
	if err := f.use(ctx, data, f.seen); err != nil {
		return err
	}
	Expect(f.Flag)
	return nil
}

// Fault returns why the current content of the file is not in force, or nil if it is.
func (f *File) Fault() error {
	if fault := f.fault.Load(); fault != nil {
		return *fault
	}
	return nil
}

// Run checks the file until ctx ends.
func (f *File) Run(ctx context.Context, every time.Duration) { Every(ctx, every, f.Check) }

// Check reads the file once and acts on a change when the check before found the same: neither a file that is being
// written nor one that is being replaced counts. When asked, by SIGHUP, the file is complete, and one that was refused
// is tried again.
func (f *File) Check(ctx context.Context, asked bool) {
	data, err := f.read()
	sum := sha256.Sum256(data)
	if err != nil {
		sum = sha256.Sum256([]byte(err.Error()))
	}
	settled := sum == f.seen || asked
	f.seen = sum
	switch {
	case !settled:
	case sum == f.inForce:
		f.recovered()
	case sum == f.tried && !asked:
	case err != nil:
		f.tried = sum
		f.failed(fmt.Errorf("--%s: %w", f.Flag, err))
	default:
		f.apply(ctx, data, sum)
	}
}

func (f *File) read() ([]byte, error) {
	if f.Optional {
		_, err := os.Lstat(f.Path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil, nil
		}
	}
	if f.Read != nil {
		return f.Read()
	}
	return ReadFile(f.Path, f.Holds)
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
	Record(f.Flag, nil)
}

// recovered reports that the content in force is back after a fault.
func (f *File) recovered() {
	if f.fault.Load() == nil {
		return
	}
	f.fault.Store(nil)
	f.tried = f.inForce
	klog.InfoS("File is again the one in force", "flag", f.Flag, "path", f.Path)
	Record(f.Flag, nil)
}

// use applies data and clears it: it may contain tokens or keys.
func (f *File) use(ctx context.Context, data []byte, sum [sha256.Size]byte) error {
	defer clear(data)
	f.tried = sum
	if err := f.Apply(ctx, data); err != nil {
		return fmt.Errorf("--%s %q: %w", f.Flag, f.Path, err)
	}
	f.inForce = sum
	return nil
}

func (f *File) failed(err error) {
	f.fault.Store(&err)
	line := errors.New(strings.ReplaceAll(err.Error(), "\n", "; ")) // all faults of a file in one line of the log
	klog.ErrorS(line, "File not reloaded, its last good content stays in force")
	Record(f.Flag, err)
}

// CatchHangup prevents SIGHUP from ending the process, the default: Every then calls its function immediately. Call it
// before a server logs its first line.
func CatchHangup() {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		for range hangup {
			klog.InfoS("SIGHUP: logs are reopened and files reloaded")
		}
	}()
}

// Every calls f immediately, after each interval, and on SIGHUP, for which asked is true, until ctx ends.
func Every(ctx context.Context, interval time.Duration, f func(ctx context.Context, asked bool)) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for asked := false; ctx.Err() == nil; {
		f(ctx, asked)
		select {
		case <-ctx.Done():
		case <-ticker.C:
			asked = false
		case <-hangup:
			asked = true
		}
	}
}

var (
	reloads = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace: "secret", Name: "reload_total",
		Help: "Reloads by source (the flag of a file or folder, or the cluster's ConfigMap) and result (success or " +
			"failure). After a failure the last good content stays in force.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"source", "result"})

	lastReload = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace: "secret", Name: "last_reload_successful",
		Help: "1 while the current content of a source is in force, 0 while it is rejected or unreadable, by " +
			"source.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"source"})

	// registerMetrics is not an init function: feature gates must be parsed before a metric is created.
	registerMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(reloads, lastReload) })
)

const success, failure = "success", "failure"

// Expect makes the series of a source whose first content is in force, so that an alert on their rate sees the first
// failure.
func Expect(source string) {
	registerMetrics()
	reloads.WithLabelValues(source, success)
	reloads.WithLabelValues(source, failure)
	lastReload.WithLabelValues(source).Set(1)
}

// Record counts a reload of a source; nil means that its current content is in force.
func Record(source string, err error) {
	registerMetrics()
	result, inForce := success, 1.0
	if err != nil {
		result, inForce = failure, 0
	}
	reloads.WithLabelValues(source, result).Inc()
	lastReload.WithLabelValues(source).Set(inForce)
}
