// SPDX-License-Identifier: Apache-2.0

package audit

import (
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

// Config configures a Log. NewConfig returns the defaults; the owner of the flags validates them.
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

// dir is the log directory.
func (c Config) dir() string { return filepath.Dir(c.Path) }
