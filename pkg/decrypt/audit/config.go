// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Fsync is what Record waits for. In every mode a record is in the operating system's hands before Record returns, so a
// crash of the process loses none.
type Fsync string

// The modes.
const (
	// FsyncAlways waits until the disk has the records: they survive a power failure. Concurrent calls share one fsync.
	FsyncAlways Fsync = "always"
	// FsyncInterval syncs once per second: a power failure loses up to that much.
	FsyncInterval Fsync = "interval"
	// FsyncNever leaves it to the operating system, often 30 seconds.
	FsyncNever Fsync = "never"
)

// Config configures a Log. NewConfig returns the defaults.
type Config struct {
	// Path is the active file. Its directory holds the older files too and is created with mode 0700 if absent.
	Path string
	// KeyFile holds the key of the chain, outside of Path's directory: 32 random bytes in base64, then older keys.
	KeyFile string
	// GenerateKey creates KeyFile when both it and the log are absent.
	GenerateKey bool
	// Instance names this server among those that share Heads. It must stay the same over restarts.
	Instance string
	Fsync    Fsync
	// MaxSize is the size in bytes after which the file is rotated.
	MaxSize int64
	// MaxBackups and MaxAge bound the older files by number and age; 0 keeps all.
	MaxBackups int
	MaxAge     time.Duration
	// DenyRate and DenyBurst limit the denied records of one caller: records per second, and in one burst.
	DenyRate  float64
	DenyBurst int
	// MaxCallers bounds how many callers have their own limit; the others share one.
	MaxCallers int
	// SummaryInterval is how often suppressed denials are summarized in the log.
	SummaryInterval time.Duration
	// PublishInterval is how often the head goes to the server log and to Heads.
	PublishInterval time.Duration
	// Heads keeps the published head where writers of the log cannot change it. Nil publishes to metric and log only.
	Heads HeadStore
}

// NewConfig returns the defaults. Path, KeyFile and Instance have none.
func NewConfig() Config {
	return Config{
		Fsync:           FsyncAlways,
		MaxSize:         100 << 20,
		MaxBackups:      100,
		DenyRate:        10,
		DenyBurst:       500,
		MaxCallers:      1024,
		SummaryInterval: 10 * time.Second,
		PublishInterval: 5 * time.Second,
	}
}

// validate names fields, since flags belong to the caller.
func (c Config) validate() error {
	var errs []error
	require := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New("decrypt audit log: "+text))
		}
	}
	require(c.Path != "", "path is required")
	require(c.KeyFile != "", "key file is required")
	require(c.Instance != "", "instance is required")
	require(c.Fsync == FsyncAlways || c.Fsync == FsyncInterval || c.Fsync == FsyncNever,
		fmt.Sprintf("fsync must be %s, %s or %s, not %q", FsyncAlways, FsyncInterval, FsyncNever, c.Fsync))
	require(c.MaxSize > 0 && c.MaxBackups >= 0 && c.MaxAge >= 0,
		"the size of a file must be positive, number and age of old files not negative")
	require(c.DenyRate > 0 && c.DenyBurst > 0 && c.MaxCallers > 0, "the limits of denied records must be positive")
	require(c.SummaryInterval > 0 && c.PublishInterval > 0, "the intervals of summaries and published heads must be positive")
	return errors.Join(errs...)
}

// dir is the log directory.
func (c Config) dir() string { return filepath.Dir(c.Path) }
