// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
)

const defaultDecryptPort = 8444

// autoPort selects a free port; 0, which means that elsewhere, turns the decrypt port off.
const autoPort = "auto"

// DecryptOptions configure the decrypt service.
type DecryptOptions struct {
	// AllowedDecrypters is --allowed-decrypters.
	AllowedDecrypters []string
	// AuthzCacheTTL is --decrypt-authz-cache-ttl.
	AuthzCacheTTL time.Duration
	// MaxInFlight is --decrypt-max-requests-inflight, MaxWatches is --decrypt-max-watches.
	MaxInFlight, MaxWatches int
	// Audit configures the log of released values.
	Audit DecryptAuditOptions

	port string // --decrypt-port: a number, 0 for none, or "auto"
}

// DecryptAuditOptions configure the decrypt audit log.
type DecryptAuditOptions struct {
	// LogPath is --decrypt-audit-log-path, KeyFile is --decrypt-audit-key-file.
	LogPath, KeyFile string
	// Fsync is --decrypt-audit-fsync.
	Fsync string
	// Instance is --decrypt-audit-instance.
	Instance string
	// Rotation limits the files of the log.
	Rotation
}

func newDecryptOptions() *DecryptOptions {
	defaults := audit.NewConfig()
	return &DecryptOptions{
		AllowedDecrypters: secret.DefaultDecrypters(),
		AuthzCacheTTL:     500 * time.Millisecond,
		MaxInFlight:       400,
		MaxWatches:        10_000,
		Audit: DecryptAuditOptions{
			Fsync:    string(defaults.Fsync),
			Rotation: Rotation{MaxBackups: defaults.MaxBackups, MaxSizeMB: int(defaults.MaxSize >> 20)},
		},
		port: strconv.Itoa(defaultDecryptPort),
	}
}

// addAPIFlags adds the flags about what SecureValues may contain.
func (o *DecryptOptions) addAPIFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.AllowedDecrypters, "allowed-decrypters", o.AllowedDecrypters,
		"Names that spec.decrypters may contain, comma separated. * allows any.")
}

func (o *DecryptOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.port, "decrypt-port", o.port,
		"Port of the decrypt service, on --bind-address and with the certificate of --secure-port. 0 turns it off, "+
			"auto selects a free port.")
	fs.DurationVar(&o.AuthzCacheTTL, "decrypt-authz-cache-ttl", o.AuthzCacheTTL,
		"How long authorization decisions are cached. A revoked permission stays effective for at most this long. 0 "+
			"disables the cache.")
	fs.IntVar(&o.MaxInFlight, "decrypt-max-requests-inflight", o.MaxInFlight,
		"Maximum number of concurrent decrypt requests; excess requests get 429. "+
			"One caller gets at most a quarter of them. 0 sets no limit.")
	fs.IntVar(&o.MaxWatches, "decrypt-max-watches", o.MaxWatches,
		"Maximum number of streams of changes on the decrypt port; excess ones get 429. "+
			"One caller gets at most a quarter of them. 0 sets no limit.")
	fs.StringVar(&o.Audit.LogPath, "decrypt-audit-log-path", o.Audit.LogPath,
		"File for the decrypt audit log: one record per requested name, written before a value is released. "+
			"Required in a cluster; a standalone server uses decrypt-audit/decrypt.log in --data-dir by default.")
	fs.StringVar(&o.Audit.KeyFile, "decrypt-audit-key-file", o.Audit.KeyFile,
		"File with the HMAC key of the audit chain (32 random bytes, base64). Must not be in the log directory. "+
			"Required in a cluster; a standalone server generates decrypt-audit.key in --data-dir by default.")
	fs.StringVar(&o.Audit.Fsync, "decrypt-audit-fsync", o.Audit.Fsync,
		"When to fsync audit records before a value is released: always, interval (once per second) or never. "+
			"A crash of the process never loses a record; a power failure may with interval and never.")
	fs.StringVar(&o.Audit.Instance, "decrypt-audit-instance", o.Audit.Instance,
		"Name of this server's audit chain, unique among the servers that share an etcd; keys report shows it too. It "+
			"must stay the same across restarts. (default the host name, \"standalone\" in a standalone server)")
	o.Audit.addFlags(fs, "decrypt audit")
}

func (o *DecryptOptions) validateAPI() []error {
	var errs []error
	for _, name := range o.AllowedDecrypters {
		if name == validation.AnyDecrypter {
			continue
		}
		if faults := utilvalidation.IsValidLabelValue(name); name == "" || len(faults) > 0 {
			errs = append(errs, fmt.Errorf("--allowed-decrypters: invalid decrypter name %q: "+
				"use up to 63 letters, digits, '-', '_' or '.', or * for any", name))
		}
	}
	return errs
}

func (o *DecryptOptions) validate() []error {
	var errs []error
	if port, err := strconv.Atoi(o.port); o.port != autoPort && (err != nil || port < 0 || port > 65535) {
		errs = append(errs, fmt.Errorf("--decrypt-port must be a number between 0 and 65535, or auto, not %q", o.port))
	}
	if o.AuthzCacheTTL < 0 || o.AuthzCacheTTL > time.Minute {
		errs = append(errs, fmt.Errorf("--decrypt-authz-cache-ttl must be between 0 and 1m, not %s", o.AuthzCacheTTL))
	}
	if o.MaxInFlight < 0 {
		errs = append(errs, errors.New("--decrypt-max-requests-inflight must not be negative"))
	}
	if o.MaxWatches < 0 {
		errs = append(errs, errors.New("--decrypt-max-watches must not be negative"))
	}
	if !o.Enabled() {
		return errs
	}
	if (o.Audit.LogPath == "") != (o.Audit.KeyFile == "") {
		errs = append(errs, errors.New("--decrypt-audit-log-path and --decrypt-audit-key-file go together"))
	}
	switch audit.Fsync(o.Audit.Fsync) {
	case audit.FsyncAlways, audit.FsyncInterval, audit.FsyncNever:
	default:
		errs = append(errs,
			fmt.Errorf("--decrypt-audit-fsync must be always, interval or never, not %q", o.Audit.Fsync))
	}
	return append(errs, o.Audit.validate("decrypt audit")...)
}

// Enabled reports whether the decrypt service runs.
func (o *DecryptOptions) Enabled() bool { return o.port != "0" }

// ListenPort returns the port to listen on, "0" for a free one.
func (o *DecryptOptions) ListenPort() string {
	if o.port == autoPort {
		return "0"
	}
	return o.port
}
