// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Fsync says what Record waits for. Whatever it says, a record is in the operating system's hands before Record
// returns, so the end of the process loses none.
type Fsync string

// The modes.
const (
	// FsyncAlways waits until the disk has the records: they survive the loss of power. Calls that come together share one
	// fsync.
	FsyncAlways Fsync = "always"
	// FsyncInterval asks for the disk once a second: a loss of power takes up to that much.
	FsyncInterval Fsync = "interval"
	// FsyncNever leaves it to the operating system, often 30 seconds.
	FsyncNever Fsync = "never"
)

// Config says where the log is and how it behaves. NewConfig has the defaults.
type Config struct {
	// Path is the file that is written. Its folder holds the older files too and is made with mode 0700 if absent.
	Path string
	// KeyFile holds the key of the chain, outside of Path's folder: 32 random bytes in base64, more lines for older keys.
	KeyFile string
	// GenerateKey makes KeyFile when it is absent and there is no log yet.
	GenerateKey bool
	// Instance names this server among those that share HeadStore. It stays the same over restarts.
	Instance string
	// Fsync says what Record waits for.
	Fsync Fsync
	// MaxSize is the size in bytes after which a new file is begun.
	MaxSize int64
	// MaxBackups and MaxAge bound the older files by number and age; 0 keeps all.
	MaxBackups int
	MaxAge     time.Duration
	// DenyRate and DenyBurst bound the denied records of one caller: so many a second, and so many at once.
	DenyRate  float64
	DenyBurst int
	// MaxCallers bounds how many callers are told apart by that limit; the others share one.
	MaxCallers int
	// SummaryInterval is how often the suppressed denials are summed up in the log.
	SummaryInterval time.Duration
	// PublishInterval is how often the head goes to metric, server log and Heads.
	PublishInterval time.Duration
	// Heads keeps the published head out of reach of whoever can write the log. Nil publishes to metric and log only.
	Heads HeadStore
	// RefuseCutOff makes Open fail, instead of only reporting it, when lines are missing that were published.
	RefuseCutOff bool
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

// Validate returns every fault. It names fields, since flags belong to the caller.
func (c Config) Validate() []error {
	var errs []error
	for _, field := range []struct{ name, value string }{{"path", c.Path}, {"key file", c.KeyFile}, {"instance", c.Instance}} {
		if field.value == "" {
			errs = append(errs, fmt.Errorf("decrypt audit log: no %s is set", field.name))
		}
	}
	if c.Fsync != FsyncAlways && c.Fsync != FsyncInterval && c.Fsync != FsyncNever {
		errs = append(errs, fmt.Errorf("decrypt audit log: fsync must be %s, %s or %s, not %q", FsyncAlways, FsyncInterval, FsyncNever, c.Fsync))
	}
	if c.MaxSize < 1 || c.MaxBackups < 0 || c.MaxAge < 0 {
		errs = append(errs, errors.New("decrypt audit log: the size of a file must be positive, number and age of old files not negative"))
	}
	if c.DenyRate <= 0 || c.DenyBurst < 1 || c.MaxCallers < 1 {
		errs = append(errs, errors.New("decrypt audit log: the limits of denied records must be positive"))
	}
	if c.SummaryInterval <= 0 || c.PublishInterval <= 0 {
		errs = append(errs, errors.New("decrypt audit log: the intervals of summaries and of the published head must be positive"))
	}
	return errs
}

// dir is the folder of the log.
func (c Config) dir() string { return filepath.Dir(c.Path) }
